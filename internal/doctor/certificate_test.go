package doctor_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"kindling/internal/config"
	"kindling/internal/doctor"
	"kindling/internal/sim/msid"
)

// pair writes a certificate and its key, and returns the lines of the app that name them.
func (r *rig) pair(name string) (lines string, leaf *x509.Certificate) {
	r.t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		r.t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().AddDate(1, 0, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		r.t.Fatal(err)
	}
	if leaf, err = x509.ParseCertificate(der); err != nil {
		r.t.Fatal(err)
	}
	cert := r.file(name+".crt", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	private := r.file(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})))
	return "    client_certificate_file: " + cert + "\n    client_key_file: " + private + "\n", leaf
}

func TestACertificateIsTriedBesideTheSecret(t *testing.T) {
	t.Parallel()
	t.Run("registered", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		lines, leaf := r.pair("main")
		r.microsoft.SetProofs(clientID, msid.Proofs{Secrets: []string{"good-" + canary}, Certificates: []*x509.Certificate{leaf}})
		r.app = lines
		found := r.examine()
		found.want(t, doctor.OK, "app", "main certificate", "accepts it")
		found.want(t, doctor.OK, "app", "main client secret")
		found.only(t, doctor.Fail)
	})
	t.Run("unknown to Azure", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, nil)
		r.app, _ = r.pair("main")
		found := r.examine()
		found.want(t, doctor.Fail, "app", "main certificate", "AADSTS700027", "upload")
		found.only(t, doctor.Fail, "main certificate")
	})
}

// On token-worker's machine a certificate is enough to work, and not enough for Warmy.
func TestACertificateAloneIsWarnedOfWhereItWorks(t *testing.T) {
	t.Parallel()
	r := newRig(t, nil)
	lines, leaf := r.pair("main")
	r.microsoft.SetProofs(clientID, msid.Proofs{Certificates: []*x509.Certificate{leaf}})
	r.app, r.secrets = lines+"    tenant: "+tenantID+"\n", nil
	r.doctor.Role, r.doctor.Process = config.TokenWorker, "token-worker"
	found := r.examine()
	found.want(t, doctor.OK, "app", "main certificate", "accepts it")
	found.want(t, doctor.Warn, "app", "main certificate alone", "no field for a certificate", "warmy-worker")
	found.want(t, doctor.Skipped, "app", "main multi-tenant", "client secret")
}
