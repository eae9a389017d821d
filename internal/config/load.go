package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"

	"kindling/internal/secret"
)

// DefaultFile is read when no other file is named; it may be absent.
const DefaultFile = "kindling.yaml"

// Source is where Load looks.
type Source struct {
	File    string            // of --config; empty: KINDLING_CONFIG, then DefaultFile if it exists
	Environ []string          // name=value, as os.Environ gives it
	Flags   map[string]string // by key, such as edge.listen; flags win. Secrets are refused here
	Known   []string          // further variables with our prefix, read by someone else
}

// layer is one source's raw values by full key: texts, or lists of texts.
type layer struct {
	values    map[string]any
	origin    map[string]string
	fileItems map[string]bool // lists that the file has
}

func newLayer() layer {
	return layer{values: map[string]any{}, origin: map[string]string{}, fileItems: map[string]bool{}}
}

func (l layer) set(key string, value any, origin string) {
	l.values[key] = value
	l.origin[key] = origin
}

// loader carries what Load gathers on its way through the layers.
type loader struct {
	problems problems
	names    map[string][]string // items by list
	raw      *koanf.Koanf        // defaults < file < environment < flags
	origin   map[string]string   // of every key that is set
	secrets  map[string]secret.Text
}

func newLoader() *loader {
	return &loader{
		names: map[string][]string{}, raw: koanf.New("."),
		origin: map[string]string{}, secrets: map[string]secret.Text{},
	}
}

// DefaultPolicy returns the policy that holds where no source sets it.
func DefaultPolicy() (Policy, error) {
	l := newLoader()
	if err := l.raw.Load(confmap.Provider(l.defaults(), "."), nil); err != nil {
		return Policy{}, fmt.Errorf("merge defaults: %w", err)
	}
	cfg, err := l.decode(l.parse())
	return cfg.Policy, err
}

// Load reads the file, the environment and the flags. It opens no file but the configuration itself. Its error is an
// *Invalid with all problems, and the Config then is not to be used.
func Load(src Source) (Config, error) {
	l := newLoader()
	if err := l.layers(src); err != nil {
		return Config{}, fmt.Errorf("merge configuration: %w", err)
	}
	typed := l.parse()
	cfg, err := l.decode(typed)
	if err != nil {
		return Config{}, fmt.Errorf("decode configuration: %w", err)
	}
	l.check(&cfg)
	if err := l.problems.err(); err != nil {
		return Config{}, err
	}
	cfg.entries = l.entries(cfg)
	return cfg, nil
}

// layers merges all sources. The names of items are known only after the environment, so that defaults come last but
// are put underneath.
func (l *loader) layers(src Source) error {
	file := l.file(src)
	vars := variables{problems: &l.problems, layer: newLayer(), known: src.Known, names: l.names, secrets: l.secrets}
	for key := range l.names {
		vars.layer.fileItems[key] = true
	}
	environment := koanf.New(".")
	if err := environment.Load(vars.provider(src.Environ), nil); err != nil {
		return err
	}
	flags := l.flags(src.Flags)
	for _, part := range []map[string]any{l.defaults(), file.values, environment.All(), flags.values} {
		if err := l.raw.Load(confmap.Provider(part, "."), nil); err != nil {
			return err
		}
	}
	for _, part := range []layer{file, vars.layer, flags} {
		maps.Copy(l.origin, part.origin)
	}
	return nil
}

// file reads the configuration file, if there is one to read.
func (l *loader) file(src Source) layer {
	d := document{path: src.Path(), problems: &l.problems, layer: newLayer(), names: l.names}
	if d.path != "" {
		d.load()
	}
	return d.layer
}

// Path returns the configuration file that Load reads; empty when there is none.
func (s Source) Path() string {
	if s.File != "" {
		return s.File
	}
	if named := lookup(s.Environ, EnvFile); named != "" {
		return named
	}
	if _, err := os.Stat(DefaultFile); errors.Is(err, fs.ErrNotExist) {
		return ""
	}
	return DefaultFile
}

func lookup(environ []string, name string) string {
	for _, pair := range environ {
		if value, found := strings.CutPrefix(pair, name+"="); found {
			return value
		}
	}
	return ""
}

// defaults are the fallbacks of every key, of list items for every item that any source names.
func (l *loader) defaults() map[string]any {
	values := map[string]any{}
	for key, f := range l.all() {
		if f.fallback != "" {
			values[key] = f.fallback
		}
	}
	for _, s := range schema() {
		for _, item := range l.names[s.key] {
			values[s.key+"."+item+".name"] = item
		}
	}
	return values
}

// all yields every key with its field, in the order of the schema.
func (l *loader) all() func(yield func(string, field) bool) {
	return func(yield func(string, field) bool) {
		for _, s := range schema() {
			for _, prefix := range l.prefixes(s) {
				for _, f := range s.fields {
					if !yield(prefix+f.key, f) {
						return
					}
				}
			}
		}
	}
}

// prefixes are what stands before the keys of a section: one prefix, or one for each item.
func (l *loader) prefixes(s section) []string {
	if s.item == "" {
		return []string{s.key + "."}
	}
	var found []string
	for _, item := range l.names[s.key] {
		found = append(found, s.key+"."+item+".")
	}
	return found
}

// flags takes the command line's settings.
func (l *loader) flags(given map[string]string) layer {
	taken := newLayer()
	fields := maps.Collect(l.all())
	for _, key := range slices.Sorted(maps.Keys(given)) {
		f, known := fields[key]
		switch {
		case !known:
			l.problems.add(Problem{Key: key, Where: "flag", Reason: "is no known key", Remedy: suggest(key, "", slices.Sorted(maps.Keys(fields)), "")})
		case f.kind == hidden:
			l.problems.add(Problem{Key: key, Where: "flag", Reason: "a secret stands on the command line, which every user of this host can read", Remedy: "put it into a file and name that in " + key + "_file"})
		default:
			taken.set(key, given[key], "flag")
		}
	}
	return taken
}

// parse turns every raw value into the Go value of its kind.
func (l *loader) parse() map[string]any {
	typed := map[string]any{}
	for key, f := range l.all() {
		raw := l.raw.Get(key)
		if raw == nil || f.kind == hidden {
			continue
		}
		value, bad := f.parse(raw)
		if bad != nil {
			l.refuse(key, bad)
			continue
		}
		typed[key] = value
	}
	return typed
}

// refuse reports a bad value, with the value if it is harmless.
func (l *loader) refuse(key string, bad *note) {
	p := Problem{Key: key, Where: l.origin[key], Reason: bad.reason, Remedy: bad.remedy}
	value, isText := l.raw.Get(key).(string)
	if isText && !l.quiet(key) {
		p.Value = harmless(value)
	}
	l.problems.add(p)
}

func (l *loader) quiet(key string) bool {
	for k, f := range l.all() {
		if k == key {
			return f.quiet || f.kind == hidden
		}
	}
	return true
}

// tree is the shape of the merged values: items by name instead of lists.
type tree struct {
	NATS     NATS               `koanf:"nats"`
	Edge     EdgeSettings       `koanf:"edge"`
	Console  ConsoleSettings    `koanf:"console"`
	Metrics  Metrics            `koanf:"metrics"`
	Keys     Keys               `koanf:"keys"`
	Apps     map[string]App     `koanf:"apps"`
	Accounts map[string]Account `koanf:"accounts"`
	Defaults Defaults           `koanf:"defaults"`
	Policy   Policy             `koanf:"policy"`
}

// decode fills a Config from typed values.
func (l *loader) decode(typed map[string]any) (Config, error) {
	k := koanf.New(".")
	if err := k.Load(confmap.Provider(typed, "."), nil); err != nil {
		return Config{}, err
	}
	var t tree
	if err := k.Unmarshal("", &t); err != nil {
		return Config{}, err
	}
	cfg := Config{
		NATS: t.NATS, Edge: t.Edge, Console: t.Console, Metrics: t.Metrics, Keys: t.Keys, Defaults: t.Defaults, Policy: t.Policy,
	}
	cfg.Edge.PublicURL = strings.TrimSuffix(cfg.Edge.PublicURL, "/")
	for _, name := range l.names["apps"] {
		app := t.Apps[name]
		if app.Issuer == "" {
			app.ClientID = strings.ToLower(app.ClientID)
		}
		app.ClientSecrets = l.secret("apps."+name+".client_secret", k.Strings("apps."+name+".client_secret_file"))
		app.ClientSecretExpires = dates(k.Strings("apps." + name + ".client_secret_expires"))
		app.Certificate = Certificate{
			app: "apps." + name + ".", certFile: k.String("apps." + name + ".client_certificate_file"), keyFile: k.String("apps." + name + ".client_key_file"),
		}
		cfg.Apps = append(cfg.Apps, app)
	}
	for _, name := range l.names["accounts"] {
		account, key := t.Accounts[name], "accounts."+name
		account.BaseURL = strings.TrimSuffix(account.BaseURL, "/")
		account.APIKey = l.secret(key+".api_key", one(k.String(key+".api_key_file")))
		account.AccessToken = l.secret(key+".access_token", one(k.String(key+".access_token_file")))
		account.WebhookSecret = l.secret(key+".webhook_secret", one(k.String(key+".webhook_secret_file")))
		account.Password = l.secret(key+".password", one(k.String(key+".password_file")))
		cfg.Accounts = append(cfg.Accounts, account)
	}
	return cfg, nil
}

func one(path string) []string {
	if path == "" {
		return nil
	}
	return []string{path}
}

// secret joins the two ways in which a secret may be given; both at once would leave open which one is used.
func (l *loader) secret(key string, files []string) Secret {
	inline, given := l.secrets[key]
	if given && len(files) > 0 {
		l.problems.add(Problem{
			Key: key, Where: l.origin[key], Reason: "is given although " + key + "_file is set at " + l.origin[key+"_file"], Remedy: "keep one of the two",
		})
	}
	s := Secret{key: key, files: files, where: l.origin[key]}
	if given {
		s.inline = []secret.Text{inline}
	}
	return s
}
