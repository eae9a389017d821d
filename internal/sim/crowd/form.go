package crowd

import (
	"bytes"
	"maps"
	"net/url"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
)

// form is an HTML form as a person without JavaScript sees it.
type form struct {
	id, method, action string
	values             url.Values
	buttons            []button
}

type button struct{ name, value string }

// read finds the title and the forms of a page.
func read(body []byte) (title string, forms []form) {
	root, err := html.Parse(bytes.NewReader(body))
	if err != nil {
		return "", nil
	}
	for node := range root.Descendants() {
		switch node.DataAtom {
		case atom.Title:
			if node.FirstChild != nil {
				title = strings.TrimSpace(node.FirstChild.Data)
			}
		case atom.Form:
			forms = append(forms, readForm(node))
		default:
		}
	}
	return title, forms
}

func readForm(node *html.Node) form {
	f := form{
		id: attr(node, "id"), action: attr(node, "action"), values: url.Values{},
		method: strings.ToUpper(attr(node, "method")),
	}
	if f.method == "" {
		f.method = "GET"
	}
	for child := range node.Descendants() {
		f.add(child)
	}
	return f
}

// add notes one field or button.
func (f *form) add(node *html.Node) {
	name, value := attr(node, "name"), attr(node, "value")
	kind := strings.ToLower(attr(node, "type"))
	switch node.DataAtom {
	case atom.Button:
		if kind == "" || kind == "submit" {
			f.buttons = append(f.buttons, button{name, value})
		}
	case atom.Input:
		switch kind {
		case "submit":
			f.buttons = append(f.buttons, button{name, value})
		case "checkbox", "radio":
			// A careful owner ticks what a form requires of him.
			if has(node, "checked") || has(node, "required") {
				f.set(name, or(value, "on"))
			}
		default:
			f.set(name, value)
		}
	default:
	}
}

func (f *form) set(name, value string) {
	if name != "" {
		f.values.Add(name, value)
	}
}

// press returns the values sent when a button is pressed: the one with this
// value, or the first one for "".
func (f *form) press(value string) url.Values {
	out := url.Values{}
	maps.Copy(out, f.values)
	for _, b := range f.buttons {
		if value == "" || b.value == value {
			if b.name != "" {
				out.Set(b.name, b.value)
			}
			break
		}
	}
	return out
}

func attr(node *html.Node, name string) string {
	for _, a := range node.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func has(node *html.Node, name string) bool {
	for _, a := range node.Attr {
		if a.Key == name {
			return true
		}
	}
	return false
}

func or(value, fallback string) string {
	if value == "" {
		return fallback
	}
	return value
}
