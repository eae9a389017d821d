package config

import (
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// root reads the sections.
func (d *document) root(n *yaml.Node) {
	sections := schema()
	for _, e := range d.entries(n, "") {
		s, known := findSection(sections, e.key)
		switch {
		case !known:
			d.unknown(e.node, e.key, rootCandidates(sections, e.key))
		case isNull(e.value):
		case s.item == "":
			d.table(e.value, s, s.key+".")
		default:
			d.items(e.value, s)
		}
	}
}

func findSection(sections []section, key string) (section, bool) {
	for _, s := range sections {
		if s.key == key {
			return s, true
		}
	}
	return section{}, false
}

// rootCandidates are the sections, and the full names of keys that were put at the top by mistake.
func rootCandidates(sections []section, key string) []string {
	var names []string
	for _, s := range sections {
		if _, known := s.find(key); known && s.item == "" {
			return []string{s.key + "." + key}
		}
		names = append(names, s.key)
	}
	return names
}

func (d *document) unknown(n *yaml.Node, key string, candidates []string) {
	otherwise := "known are " + strings.Join(candidates, ", ")
	remedy := suggest(key, key[:strings.LastIndex(key, ".")+1], candidates, otherwise)
	if len(candidates) == 1 {
		remedy = "did you mean " + candidates[0] + "?"
	}
	d.problems.add(Problem{Key: key, Where: d.at(n), Reason: "is no known key", Remedy: remedy})
}

// entry is one key of a mapping.
type entry struct {
	key         string
	node, value *yaml.Node
}

// entries lists a mapping's keys, each once. Whatever is no mapping has none.
func (d *document) entries(n *yaml.Node, key string) []entry {
	if n.Kind != yaml.MappingNode {
		d.problems.add(Problem{Key: key, Where: d.at(n), Reason: "is " + form(n) + ", not a table of keys", Remedy: "write key: value lines"})
		return nil
	}
	var found []entry
	lines := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		if first, twice := lines[k.Value]; twice {
			d.problems.add(Problem{Key: join(key, k.Value), Where: d.at(k), Reason: fmt.Sprintf("stands here a second time, first in line %d", first), Remedy: "keep one"})
			continue
		}
		lines[k.Value] = k.Line
		found = append(found, entry{key: k.Value, node: k, value: n.Content[i+1]})
	}
	return found
}

func join(key, part string) string {
	return strings.TrimPrefix(strings.TrimSuffix(key, ".")+"."+part, ".")
}

// form names what a node is, for an operator.
func form(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a table"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case isNull(n):
		return "empty"
	default:
		return "a single value"
	}
}

// table reads the keys of one section or item; prefix ends with a dot.
func (d *document) table(n *yaml.Node, s section, prefix string) {
	for _, e := range d.entries(n, strings.TrimSuffix(prefix, ".")) {
		f, known := s.find(e.key)
		if !known {
			d.unknown(e.node, prefix+e.key, withPrefix(prefix, s.keys()))
			continue
		}
		d.field(e.value, f, prefix+e.key)
	}
}

func withPrefix(prefix string, keys []string) []string {
	full := make([]string, len(keys))
	for i, k := range keys {
		full[i] = prefix + k
	}
	return full
}

// field reads one value as the text that stands in the file: a GUID like 66e12345-… must not become a number.
func (d *document) field(n *yaml.Node, f field, key string) {
	switch {
	case f.kind == hidden && !isNull(n):
		d.problems.add(Problem{
			Key: key, Where: d.at(n), Reason: "a secret stands in the configuration file",
			Remedy: "put it into a file of its own and name that in " + key + "_file, then replace the secret: it may have been copied",
		})
	case isNull(n):
	case n.Kind == yaml.ScalarNode:
		d.layer.set(key, n.Value, d.at(n))
	case n.Kind == yaml.SequenceNode && f.kind == list:
		d.list(n, key)
	case f.kind == list:
		d.problems.add(Problem{Key: key, Where: d.at(n), Reason: "is " + form(n) + ", not a list", Remedy: "write as in [a, b]"})
	default:
		d.problems.add(Problem{Key: key, Where: d.at(n), Reason: "is " + form(n) + ", not a single value", Remedy: "write key: value"})
	}
}

func (d *document) list(n *yaml.Node, key string) {
	values := make([]string, 0, len(n.Content))
	for _, c := range n.Content {
		if c.Kind != yaml.ScalarNode || isNull(c) || c.Value == "" {
			d.problems.add(Problem{Key: key, Where: d.at(c), Reason: "an element is " + form(c) + ", not a text", Remedy: "write as in [a, b]"})
			return
		}
		values = append(values, c.Value)
	}
	d.layer.set(key, values, d.at(n))
}

// items reads a list of named tables. One without a usable name is read under its number, so that its other faults are
// told in the same run.
func (d *document) items(n *yaml.Node, s section) {
	if n.Kind != yaml.SequenceNode {
		d.problems.add(Problem{Key: s.key, Where: d.at(n), Reason: "is " + form(n) + ", not a list", Remedy: "begin each item with - name: …"})
		return
	}
	lines := map[string]int{}
	for i, item := range n.Content {
		name := fmt.Sprintf("#%d", i+1)
		given := itemNode(item)
		switch {
		case item.Kind != yaml.MappingNode:
			d.table(item, s, s.key+"."+name+".")
			continue
		case given == nil:
			d.problems.add(Problem{Key: s.key + "." + name + ".name", Where: d.at(item), Reason: "is missing", Remedy: "give the item a name"})
		case lines[given.Value] > 0:
			d.problems.add(Problem{
				Key: s.key + "." + given.Value, Where: d.at(given),
				Reason: fmt.Sprintf("the name stands here a second time, first in line %d", lines[given.Value]), Remedy: "rename one",
			})
		case itemName(given.Value) == nil:
			name = given.Value
			lines[name] = given.Line
		}
		d.names[s.key] = append(d.names[s.key], name)
		d.table(item, s, s.key+"."+name+".")
	}
}

// itemNode is the node of an item's name, nil if there is none.
func itemNode(item *yaml.Node) *yaml.Node {
	for i := 0; item.Kind == yaml.MappingNode && i+1 < len(item.Content); i += 2 {
		if v := item.Content[i+1]; item.Content[i].Value == "name" && v.Kind == yaml.ScalarNode && !isNull(v) {
			return v
		}
	}
	return nil
}
