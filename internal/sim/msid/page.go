package msid

import (
	"html/template"
	"net/http"
	"net/url"
)

type consentView struct {
	Action, Address, ClientID string
	Scopes                    []string
}

type continueView struct {
	Action string
	Values url.Values
}

// pages returns the HTML that an owner meets. Every page works without
// JavaScript; the script of form_post only spares a click.
func pages() *template.Template {
	return template.Must(template.New("").Parse(`
{{define "head"}}<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{{.}}</title>
<meta name="viewport" content="width=device-width,initial-scale=1">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:30rem;margin:3rem auto;padding:0 1rem;color:#1b1b1b;background:#f3f3f3}
main{background:#fff;padding:2rem;box-shadow:0 2px 6px #0003}h1{font-size:1.4rem;margin-top:0}button{font:inherit;padding:.4rem 1.4rem;margin:.5rem .5rem 0 0}
input{font:inherit;width:100%;padding:.3rem;box-sizing:border-box}small{color:#555}</style></head><body><main>{{end}}
{{define "foot"}}<p><small>This is a simulator. It is not Microsoft, and nothing here is a real account.</small></p></main></body></html>{{end}}
{{define "consent"}}{{template "head" "Permissions requested"}}<h1>Permissions requested</h1>
<form id="consent" method="post" action="{{.Action}}">
<p><label>Account<br><input type="email" name="address" value="{{.Address}}" required autocomplete="username"></label></p>
<p>Application <code>{{.ClientID}}</code> would like to:</p><ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>
<button name="action" value="accept">Accept</button><button name="action" value="decline" formnovalidate>Decline</button>
<details><summary>For trials</summary><button name="action" value="accept_late">Accept with a code that has already expired</button></details>
</form>{{template "foot"}}{{end}}
{{define "admin"}}{{template "head" "Permissions requested"}}<h1>Permissions requested for your organization</h1>
<form id="consent" method="post" action="{{.Action}}">
<p><label>Administrator<br><input type="email" name="address" value="{{.Address}}"></label></p>
<p>Application <code>{{.ClientID}}</code> would like to:</p><ul>{{range .Scopes}}<li><code>{{.}}</code></li>{{end}}</ul>
<button name="action" value="accept">Accept</button><button name="action" value="decline">Decline</button>
</form>{{template "foot"}}{{end}}
{{define "continue"}}{{template "head" "Working…"}}<h1>Signed in</h1>
<form id="continue" method="post" action="{{.Action}}">
{{range $name, $values := .Values}}{{range $values}}<input type="hidden" name="{{$name}}" value="{{.}}">{{end}}{{end}}
<button>Continue</button></form>{{template "foot"}}<script>document.forms[0].submit()</script>{{end}}
{{define "error"}}{{template "head" "Sign-in error"}}<h1>Sorry, but we’re having trouble signing you in.</h1><p>{{.}}</p>{{template "foot"}}{{end}}`))
}

// show renders one of the pages.
func (s *Server) show(w http.ResponseWriter, status int, name string, view any) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = s.pages.ExecuteTemplate(w, name, view)
}

// showError stops the owner on Microsoft's own page: the product never hears
// of it.
func (s *Server) showError(w http.ResponseWriter, number int) {
	row := refusal(number)
	s.book.total(OpAuthorize, "page_"+row.outcome())
	s.show(w, http.StatusBadRequest, "error", row.describe())
}
