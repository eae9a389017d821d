package config

import (
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// leastBits is the shortest RSA key that is worth having.
const leastBits = 2048

// Certificate says where the certificate of an app and its private key are, without holding them: they are read when a role
// asks, each time anew. The zero value is a certificate that was not given.
type Certificate struct {
	app      string // "apps.NAME."
	certFile string
	keyFile  string
}

// KeyPair is a certificate with its private key. The fields are not exported so that no encoder finds the key.
type KeyPair struct {
	leaf *x509.Certificate
	key  *rsa.PrivateKey
}

// Leaf returns the certificate, nil if there is none.
func (p KeyPair) Leaf() *x509.Certificate { return p.leaf }

// Key returns the private key, nil if there is none. It must not be printed.
func (p KeyPair) Key() *rsa.PrivateKey { return p.key }

// Equal reports whether two pairs are the same. Pairs without a certificate are.
func (p KeyPair) Equal(other KeyPair) bool {
	if p.leaf == nil || other.leaf == nil {
		return p.leaf == other.leaf
	}
	return p.leaf.Equal(other.leaf) && p.key.Equal(other.key)
}

// Given reports whether there is anything to read.
func (c Certificate) Given() bool { return c.certFile != "" && c.keyFile != "" }

// Read returns the pair if it is complete, belongs together and is valid now; the zero value if none was given. Its error is
// an *Invalid that names files, never their content; on an error the caller keeps what it had.
func (c Certificate) Read() (KeyPair, error) {
	var found problems
	pair := c.read(time.Now(), &found, nil)
	if err := found.err(); err != nil {
		return KeyPair{}, err
	}
	return pair, nil
}

// read collects what is wrong and, if warn is set, what is unwise.
func (c Certificate) read(now time.Time, wrong, warn *problems) KeyPair {
	if !c.Given() {
		return KeyPair{}
	}
	leaf, bad := readLeaf(c.certFile, now)
	c.refuse(wrong, "client_certificate_file", c.certFile, bad)
	key, badKey := readKey(c.keyFile)
	c.refuse(wrong, "client_key_file", c.keyFile, badKey)
	if bad != nil || badKey != nil {
		return KeyPair{}
	}
	if !key.PublicKey.Equal(leaf.PublicKey) {
		c.refuse(wrong, "client_key_file", c.keyFile, &note{"is not the key of client_certificate_file", "name the key with which that certificate was made"})
		return KeyPair{}
	}
	if warn != nil {
		c.warn(leaf, now, warn)
	}
	return KeyPair{leaf: leaf, key: key}
}

func (c Certificate) refuse(wrong *problems, key, path string, bad *note) {
	if bad != nil {
		wrong.add(Problem{Key: c.app + key, Value: harmless(path), Reason: bad.reason, Remedy: bad.remedy})
	}
}

func (c Certificate) warn(leaf *x509.Certificate, now time.Time, warn *problems) {
	if worldReadable(c.keyFile) {
		c.refuse(warn, "client_key_file", c.keyFile, &note{"every user of this host can read the file", "chmod 600"})
	}
	c.refuse(warn, "client_certificate_file", c.certFile, expiring(leaf.NotAfter, now, "make a new certificate and upload it in Azure before that day"))
}

// readLeaf returns the first certificate in a PEM file.
func readLeaf(path string, now time.Time) (*x509.Certificate, *note) {
	der, bad := readPEM(path, "CERTIFICATE")
	if bad != nil {
		return nil, bad
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, &note{"holds a certificate that cannot be read", "export it again as PEM"}
	}
	key, isRSA := leaf.PublicKey.(*rsa.PublicKey)
	switch {
	case !isRSA:
		return nil, &note{"is not a certificate of an RSA key", "make one with an RSA key, which Microsoft asks for"}
	case key.N.BitLen() < leastBits:
		return nil, &note{fmt.Sprintf("has a key of %d bits", key.N.BitLen()), fmt.Sprintf("make one with at least %d", leastBits)}
	case now.After(leaf.NotAfter):
		return nil, &note{"expired on " + leaf.NotAfter.UTC().Format(time.DateOnly), "make a new certificate and upload it in Azure"}
	case now.Before(leaf.NotBefore):
		return nil, &note{"is valid from " + leaf.NotBefore.UTC().Format(time.DateOnly) + " only", "wait, or set this machine's clock"}
	}
	return leaf, nil
}

// readKey returns the first private key in a PEM file. Its words must not quote the file.
func readKey(path string) (*rsa.PrivateKey, *note) {
	der, bad := readPEM(path, "PRIVATE KEY", "RSA PRIVATE KEY")
	if bad != nil {
		return nil, bad
	}
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	parsed, err := x509.ParsePKCS8PrivateKey(der)
	key, isRSA := parsed.(*rsa.PrivateKey)
	switch {
	case err != nil:
		return nil, &note{"holds a key that cannot be read", "export it again as PEM, without a passphrase"}
	case !isRSA:
		return nil, &note{"is not an RSA key", "make one with an RSA key, which Microsoft asks for"}
	}
	return key, nil
}

// readPEM returns the content of the first block of one of these types.
func readPEM(path string, types ...string) ([]byte, *note) {
	rest, bad := read(path, maxSecret)
	if bad != nil {
		return nil, bad
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, &note{"holds no PEM block " + types[0], "name a PEM file; a key must have no passphrase"}
		}
		for _, t := range types {
			if block.Type == t && block.Headers["DEK-Info"] == "" {
				return block.Bytes, nil
			}
		}
	}
}
