package console

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"maps"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/events"
	"kindling/internal/fault"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
)

//go:embed web
var web embed.FS

// pages renders what people see. Every page is complete without a script.
type pages struct {
	templates map[string]*template.Template
	now       func() time.Time
	expiring  func() []ExpiringSecret
}

// page is what every template gets.
type page struct {
	Title, Active string
	Actor         pageActor
	Nav           []navItem
	Live          bool // the page is worth refreshing
	Expiring      []ExpiringSecret
	Data          any
}

type pageActor struct {
	Name, Role                     string
	Session, Operates, Administers bool
}

type navItem struct{ Path, Name string }

func navigation() []navItem {
	return []navItem{
		{"/", "Overview"},
		{"/campaigns", "Campaigns"},
		{"/mailboxes", "Mailboxes"},
		{"/dead", "Dead letters"},
		{"/jobs", "Jobs"},
		{"/legs", "Legs"},
	}
}

func newPages(now func() time.Time, expiring func() []ExpiringSecret) (*pages, error) {
	p := &pages{templates: map[string]*template.Template{}, now: now, expiring: expiring}
	shared, err := template.New("").Funcs(p.funcs()).ParseFS(web, "web/layout.html", "web/campaigns_table.html", "web/consented.html", "web/unsettled.html")
	if err != nil {
		return nil, fmt.Errorf("console: parse layout: %w", err)
	}
	for _, name := range []string{
		"login", "problem", "overview", "campaigns", "imported", "campaign", "mailboxes", "mailbox", "dead", "deadletter", "confirm", "jobs", "job", "legs",
	} {
		t, err := shared.Clone()
		if err == nil {
			t, err = t.ParseFS(web, "web/"+name+".html")
		}
		if err != nil {
			return nil, fmt.Errorf("console: parse page %s: %w", name, err)
		}
		p.templates[name] = t
	}
	return p, nil
}

// render answers with a page. It is written only when it is whole.
func (p *pages) render(r *request, status int, name string, content page) error {
	content.Nav, content.Expiring = navigation(), p.expiring()
	content.Actor = pageActor{
		Name: r.actor.name, Role: r.actor.role, Session: r.actor.session != "",
		Operates: rank(r.actor.role) >= rank(Worker), Administers: rank(r.actor.role) >= rank(Admin),
	}
	var out bytes.Buffer
	if err := p.templates[name].ExecuteTemplate(&out, "layout", content); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	r.w.Header().Set("Content-Type", "text/html; charset=utf-8")
	r.w.WriteHeader(status)
	_, _ = r.w.Write(out.Bytes()) // the browser has gone; there is nobody to tell
	return nil
}

// problem shows an error to a person. While the console still reads the facts the page comes back by itself.
func (p *pages) problem(r *request, pr *Problem) {
	if pr.Code == "catching_up" {
		r.w.Header().Set("Refresh", "2")
	}
	if err := p.render(r, pr.Status, "problem", page{Title: pr.Title, Data: pr}); err != nil {
		http.Error(r.w, pr.Detail, pr.Status)
	}
}

func (p *pages) funcs() template.FuncMap {
	return template.FuncMap{
		"num": thousands, "percent": percent, "ago": p.ago, "words": words, "seconds": seconds, "split": split, "reasonsOf": reasonsOf,
		"forecastWords": forecastWords, "stage": isStage,
		"str":       func(v any) string { return fmt.Sprint(v) },
		"in":        func(counts map[mailbox.State]int, s string) int { return counts[mailbox.State(s)] },
		"add":       func(a, b int) int { return a + b },
		"states":    mailbox.States,
		"lanes":     events.Lanes,
		"classes":   fault.Classes,
		"forecasts": fault.Forecasts,
		"dict":      dict,
		"outlook":   func(l leg.Leg) string { return l.Outlook(p.now()) },
		"clock":     func(at time.Time) string { return leg.Clock(at, p.now()) },
		"workload":  func(a ImportedAccount) string { return a.Words(p.now()) },
	}
}

// dict makes a map of names and values, for templates that take several.
func dict(pairs ...any) (map[string]any, error) {
	m := map[string]any{}
	for pair := range slices.Chunk(pairs, 2) {
		name, ok := pair[0].(string)
		if !ok || len(pair) != 2 {
			return nil, fmt.Errorf("dict: not pairs of names and values")
		}
		m[name] = pair[1]
	}
	return m, nil
}

// thousands writes a count so that it can be read.
func thousands(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0 && text[i-1] != '-'; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// percent rounds so that only nothing is 0 and only all is 100.
func percent(n, total int) int {
	switch {
	case total <= 0 || n <= 0:
		return 0
	case n >= total:
		return 100
	}
	return min(99, max(1, int(math.Round(float64(n)*100/float64(total)))))
}

func (p *pages) ago(t time.Time) string {
	d := p.now().Sub(t)
	switch {
	case d < -time.Minute:
		return "in " + seconds(-d.Seconds())
	case d < 5*time.Second:
		return "just now"
	}
	return seconds(d.Seconds()) + " ago"
}

// seconds words a span of time in its largest unit.
func seconds(s float64) string {
	for _, unit := range []struct {
		size float64
		name string
	}{{86400, "day"}, {3600, "hour"}, {60, "minute"}} {
		if s >= unit.size {
			n := int(math.Round(s / unit.size))
			if n == 1 {
				return "1 " + unit.name
			}
			return thousands(n) + " " + unit.name + "s"
		}
	}
	return strconv.Itoa(int(s)) + " s"
}

// words turns a name of ours into words.
func words(name any) string {
	return strings.ReplaceAll(strings.ReplaceAll(fmt.Sprint(name), "_", " "), ",", " or ")
}

func forecastWords(forecast any) string {
	switch fault.Forecast(fmt.Sprint(forecast)) {
	case fault.ByTime:
		return "only time"
	case fault.ByConfig:
		return "a setting changed"
	case fault.ByPerson:
		return "a person"
	case fault.Never:
		return "nothing helps"
	}
	return fmt.Sprint(forecast)
}

// isStage reports whether a state is a step of the way, which is shown even when nobody is there.
func isStage(s mailbox.State) bool {
	return s == mailbox.StateInvited || s == mailbox.StateRegistered || s == mailbox.StateNeedsConsent || underWay(s) && s != mailbox.StateUnclear
}

// part is a piece of a bar that shows several states, in hundredths.
type part struct {
	State       mailbox.State
	From, Width float64
}

func split(c roster.Counts) []part {
	var parts []part
	from := 0.0
	for _, s := range []mailbox.State{
		mailbox.StateRegistered, mailbox.StateRegistering, mailbox.StateGranted, mailbox.StateRedeeming, mailbox.StateCodeReceived,
		mailbox.StateUnclear, mailbox.StateNeedsConsent, mailbox.StateMismatch, mailbox.StateDead,
	} {
		if n := c.ByState[s]; n > 0 {
			width := float64(n) * 100 / float64(c.Total)
			parts = append(parts, part{s, from, width})
			from += width
		}
	}
	return parts
}

// reasonCount is how many mailboxes of a state are in it for one reason.
type reasonCount struct {
	State, Reason string
	Count         int
}

func reasonsOf(state mailbox.State, byReason map[string]int) []reasonCount {
	var found []reasonCount
	for _, key := range slices.Sorted(maps.Keys(byReason)) {
		if s, reason, _ := strings.Cut(key, "/"); s == string(state) {
			found = append(found, reasonCount{s, reason, byReason[key]})
		}
	}
	return found
}
