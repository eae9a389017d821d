package console

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"time"

	"kindling/internal/secret"
)

// The roles of operators. Each may do what the one before may.
const (
	Viewer = "viewer" // reads
	Worker = "operator"
	Admin  = "admin" // also what cannot be undone
)

// Roles lists the roles, the least first.
func Roles() []string { return []string{Viewer, Worker, Admin} }

func rank(role string) int { return slices.Index(Roles(), role) }

// tokenPrefix lets scanners of repositories and logs recognise a token.
const tokenPrefix = "kdl_"

// Operator is somebody who may use the console. The token itself is known to its owner only.
type Operator struct {
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	Hash      string    `json:"hash"` // SHA-256 of the token, hexadecimal
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at,omitzero"` // zero: never
}

// operatorsFile is the form of the file.
type operatorsFile struct {
	Version   int        `json:"version"`
	Operators []Operator `json:"operators"`
}

// NewOperator makes a token of 256 random bits and the entry that recognises it. The caller shows the token once.
// A bad name or an unknown role is refused by SaveOperators.
func NewOperator(name, role string) (token secret.Text, entry Operator) {
	raw := make([]byte, 32)
	_, _ = rand.Read(raw) // never fails (crypto/rand)
	token = secret.New(tokenPrefix + base64.RawURLEncoding.EncodeToString(raw))
	entry = Operator{Name: name, Role: role, Hash: hashToken(token.Reveal()), CreatedAt: time.Now().UTC().Truncate(time.Second)}
	return token, entry
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

func (o Operator) check() error {
	switch {
	case !regexp.MustCompile(`^[\p{L}\p{N}][\p{L}\p{N} ._@-]{0,63}$`).MatchString(o.Name):
		return errors.New("an operator's name has 1 to 64 letters, digits, spaces, dots, dashes or @")
	case rank(o.Role) < 0:
		return fmt.Errorf("an operator's role is one of %s, %s and %s", Viewer, Worker, Admin)
	case len(o.Hash) != 2*sha256.Size:
		return errors.New("an operator's hash is not a SHA-256 in hexadecimal")
	}
	return nil
}

// LoadOperators reads the operators' file. A file that does not exist gives an error that is fs.ErrNotExist.
func LoadOperators(path string) ([]Operator, error) {
	data, err := os.ReadFile(path) //nolint:gosec // the path is the configuration's
	if err != nil {
		return nil, fmt.Errorf("operators: %w", err)
	}
	var file operatorsFile
	if err := json.Unmarshal(data, &file); err != nil || file.Version != 1 {
		return nil, errors.New("operators: the file is not one that 'kindling operator add' writes")
	}
	return file.Operators, checkOperators(file.Operators)
}

func checkOperators(operators []Operator) error {
	names := map[string]bool{}
	for i, o := range operators {
		if err := o.check(); err != nil {
			return fmt.Errorf("operators: entry %d: %w", i+1, err)
		}
		if names[o.Name] {
			return fmt.Errorf("operators: entry %d: this name is taken", i+1)
		}
		names[o.Name] = true
	}
	return nil
}

// SaveOperators replaces the operators' file in one step. Only its owner may read it. It refuses bad names, unknown
// roles and names that stand there twice.
func SaveOperators(path string, operators []Operator) error {
	if err := checkOperators(operators); err != nil {
		return err
	}
	data, err := json.MarshalIndent(operatorsFile{Version: 1, Operators: operators}, "", "  ")
	if err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	temp, err := os.CreateTemp(filepath.Dir(path), ".operators-*") // mode 0600
	if err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }() // gone already when all went well
	_, writeErr := temp.Write(append(data, '\n'))
	if err := errors.Join(writeErr, temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	if err := os.Rename(temp.Name(), path); err != nil {
		return fmt.Errorf("operators: %w", err)
	}
	return nil
}

// register is the operators' file as last read. A broken or missing file lets nobody in.
type register struct {
	path string
	now  func() time.Time

	mu      sync.Mutex
	looked  time.Time
	stamp   time.Time
	size    int64
	entries []Operator
	err     error
}

// lookEvery bounds how often the file's date is asked for; a removed operator is out after that time.
const lookEvery = time.Second

func newRegister(path string, now func() time.Time) *register {
	return &register{path: path, now: now}
}

// find returns the operator with this token hash, comparing with all in constant time.
func (g *register) find(hash string) (Operator, bool) {
	var found Operator
	ok := false
	for _, o := range g.current() {
		if subtle.ConstantTimeCompare([]byte(o.Hash), []byte(hash)) == 1 {
			found, ok = o, true
		}
	}
	if ok && !found.ExpiresAt.IsZero() && g.now().After(found.ExpiresAt) {
		return Operator{}, false
	}
	return found, ok
}

func (g *register) current() []Operator {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if !g.looked.IsZero() && now.Sub(g.looked).Abs() < lookEvery {
		return g.entries
	}
	g.looked = now
	info, err := os.Stat(g.path)
	if err != nil {
		g.entries, g.err, g.stamp = nil, err, time.Time{}
		return nil
	}
	if g.err == nil && info.ModTime().Equal(g.stamp) && info.Size() == g.size {
		return g.entries
	}
	g.stamp, g.size = info.ModTime(), info.Size()
	g.entries, g.err = LoadOperators(g.path)
	return g.entries
}

// trouble says why nobody can get in, or nil.
func (g *register) trouble() error {
	entries := g.current()
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(g.err, fs.ErrNotExist), g.err == nil && len(entries) == 0:
		return errors.New("there is no operator yet: run 'kindling operator add NAME --role admin'")
	case g.err != nil:
		return errors.New("the operators' file cannot be read")
	}
	return nil
}
