package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxFile is far above any real configuration: what is larger is another file.
const maxFile = 1 << 20

// document reads the YAML file into a layer of raw values, key by key against the schema. It works on the parsed
// nodes, because a decoder into maps would lose line numbers and duplicates, and would expand aliases.
type document struct {
	path     string
	problems *problems
	layer    layer
	names    map[string][]string // items of each list, in the order of the file
}

// read returns the text of a regular file, or what is wrong with it.
func read(path string, limit int64) ([]byte, *note) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &note{"does not exist", "check the path"}
	case err != nil:
		return nil, &note{"cannot be read: " + cause(err), "check its owner and mode"}
	case info.IsDir():
		return nil, &note{"is a directory", "name a file"}
	case !info.Mode().IsRegular():
		return nil, &note{"is not a regular file", "name a file"}
	case info.Size() > limit:
		return nil, &note{fmt.Sprintf("is larger than %d KB", limit>>10), "check the path"}
	}
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return nil, &note{"cannot be read: " + cause(err), "check its owner and mode"}
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, &note{"cannot be read: " + cause(err), ""}
	}
	return data, nil
}

// cause is the system's word for err, without the path.
func cause(err error) string {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

// load reads the whole file. A file that is no YAML at all is one problem.
func (d *document) load() {
	data, bad := read(d.path, maxFile)
	if bad == nil {
		data, bad = plain(data)
	}
	if bad != nil {
		d.problems.add(Problem{Where: d.path, Reason: "the file " + bad.reason, Remedy: bad.remedy})
		return
	}
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	var root, second yaml.Node
	err := decoder.Decode(&root)
	switch {
	case errors.Is(err, io.EOF) || err == nil && isNull(content(&root)):
		d.problems.add(Problem{Where: d.path, Reason: "the file is empty", Remedy: "start from deployments/kindling.example.yaml"})
	case err != nil:
		d.problems.add(Problem{Where: d.path, Reason: "the file is not YAML: " + wording(err), Remedy: "compare with deployments/kindling.example.yaml"})
	case !errors.Is(decoder.Decode(&second), io.EOF):
		d.problems.add(Problem{Where: d.path, Reason: "the file holds more than one document, or signs after the end of the first", Remedy: "keep one, without --- between"})
	case d.aliased(&root):
	default:
		d.root(content(&root))
	}
}

// plain refuses what is no text before a parser sees it.
func plain(data []byte) ([]byte, *note) {
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	if !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0 {
		return nil, &note{"is not UTF-8 text", "save it as UTF-8"}
	}
	for i, line := range strings.Split(string(data), "\n") {
		if indent := line[:len(line)-len(strings.TrimLeft(line, " \t"))]; strings.Contains(indent, "\t") && strings.TrimSpace(line) != "" {
			return nil, &note{fmt.Sprintf("is indented with a tab in line %d", i+1), "use spaces"}
		}
	}
	return data, nil
}

var yamlPrefix = regexp.MustCompile(`^yaml: `)

// wording is the parser's complaint about the form. It quotes no values: nothing is decoded yet.
func wording(err error) string { return yamlPrefix.ReplaceAllString(err.Error(), "") }

func content(doc *yaml.Node) *yaml.Node {
	if doc.Kind == yaml.DocumentNode && len(doc.Content) > 0 {
		return doc.Content[0]
	}
	return doc
}

func isNull(n *yaml.Node) bool {
	return n.Kind == 0 || n.Kind == yaml.ScalarNode && n.Tag == "!!null"
}

// aliased refuses anchors and aliases: nobody needs them here, and a few lines of them can fill the memory.
func (d *document) aliased(n *yaml.Node) bool {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		d.problems.add(Problem{Where: d.at(n), Reason: "the file uses an anchor or an alias", Remedy: "write the value out"})
		return true
	}
	return slices.ContainsFunc(n.Content, d.aliased)
}

func (d *document) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", d.path, n.Line) }
