package config

import (
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/providers/env/v2"

	"kindling/internal/secret"
)

// envPrefix begins every variable of ours.
const envPrefix = "KINDLING_"

// EnvFile names the file to read when no flag does.
const EnvFile = envPrefix + "CONFIG"

// ownVariables are read before the configuration, by internal/service and by Load itself.
func ownVariables() []string { return []string{EnvFile, envPrefix + "LOG", envPrefix + "LOG_FORMAT"} }

// orchestrated matches what Kubernetes and container links set for a service called kindling: addresses, not settings.
var orchestrated = regexp.MustCompile(`^KINDLING(_[A-Z0-9_]+)?(_SERVICE_HOST|_SERVICE_PORT(_[A-Z0-9_]+)?|_PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)$`)

// variables reads the environment into a layer.
type variables struct {
	problems *problems
	layer    layer
	known    []string            // further names with our prefix that are not ours to read
	names    map[string][]string // items by list, as far as the file names them; extended here
	secrets  map[string]secret.Text
}

// provider is the environment as a koanf provider: every variable that is a setting, under its key.
func (v *variables) provider(environ []string) *env.Env {
	return env.Provider(".", env.Opt{
		Prefix:        envPrefix,
		EnvironFunc:   func() []string { return sorted(environ) },
		TransformFunc: v.take,
	})
}

func sorted(environ []string) []string {
	s := slices.Clone(environ)
	slices.Sort(s)
	return s
}

// take returns the key and the raw value of a variable; an empty key means that there is nothing to merge.
func (v *variables) take(name, value string) (string, any) {
	if slices.Contains(ownVariables(), name) || slices.Contains(v.known, name) || foreign(name, value) {
		return "", nil
	}
	key, f, found := v.resolve(name)
	switch {
	case !found:
		v.problems.add(Problem{Key: name, Where: name, Reason: "is no known variable", Remedy: suggest(name, envPrefix, v.all(), "see `kindling config show` for the keys")})
		return "", nil
	case f.kind == hidden:
		v.secret(key, name, value)
		return "", nil
	case value == "":
		return "", nil
	}
	v.layer.origin[key] = name
	return key, value
}

func foreign(name, value string) bool {
	address := strings.HasPrefix(value, "tcp://") || strings.HasPrefix(value, "udp://")
	return orchestrated.MatchString(name) || address && strings.HasSuffix(name, "_PORT")
}

func (v *variables) secret(key, name, value string) {
	if bad := judgeSecret(value); bad != nil {
		v.problems.add(Problem{Key: key, Where: name, Reason: bad.reason, Remedy: bad.remedy})
	}
	v.secrets[key] = secret.New(value)
	v.layer.origin[key] = name
}

// resolve finds the key that a variable means. In lists the name of the item comes first, and both parts may hold
// underscores: an item that the file names wins, then the longest key.
func (v *variables) resolve(name string) (string, field, bool) {
	for _, s := range schema() {
		for _, f := range s.fields {
			if s.item == "" && s.variable("", f.key) == name {
				return s.key + "." + f.key, f, true
			}
		}
		if s.item == "" || !strings.HasPrefix(name, envPrefix+s.item+"_") {
			continue
		}
		if item, f, found := v.resolveItem(s, name); found {
			return s.key + "." + item + "." + f.key, f, true
		}
	}
	return "", field{}, false
}

func (v *variables) resolveItem(s section, name string) (string, field, bool) {
	for _, item := range v.names[s.key] {
		for _, f := range s.fields {
			if s.variable(item, f.key) == name && f.key != "name" {
				return item, f, true
			}
		}
	}
	rest := strings.ToLower(strings.TrimPrefix(name, envPrefix+s.item+"_"))
	var item string
	var best field
	for _, f := range s.fields {
		before, cut := strings.CutSuffix(rest, "_"+f.key)
		candidate := strings.ReplaceAll(before, "_", "-")
		if cut && f.key != "name" && len(f.key) > len(best.key) && itemName(candidate) == nil {
			item, best = candidate, f
		}
	}
	if best.key == "" || v.misspelt(s, item) {
		return "", field{}, false
	}
	v.names[s.key] = append(v.names[s.key], item)
	return item, best, true
}

// misspelt reports whether a new item is rather a wrong name of one that the file has: where a file lists items, a
// variable may not add another one, or a typing error would make an app of its own.
func (v *variables) misspelt(s section, item string) bool {
	known := v.names[s.key]
	return len(known) > 0 && v.layer.fileItems[s.key] && !slices.Contains(known, item)
}

// all lists every variable that would be understood.
func (v *variables) all() []string {
	names := slices.Concat(ownVariables(), v.known)
	for _, s := range schema() {
		items := v.names[s.key]
		if s.item == "" || len(items) == 0 {
			items = []string{"NAME"}
		}
		for _, item := range items {
			for _, f := range s.fields {
				if s.item == "" || f.key != "name" {
					names = append(names, s.variable(item, f.key))
				}
			}
		}
	}
	return names
}
