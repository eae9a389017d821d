package campaign

import (
	"slices"
	"strings"
	"unicode"
)

// ruleset is Rules in the form the reader works with.
type ruleset struct {
	Rules
	sum string
}

func newRuleset(r Rules) ruleset {
	rs := ruleset{Rules: r, sum: strings.ToLower(strings.TrimSpace(r.SHA256))}
	rs.Defaults.TariffPlan = strings.TrimSpace(r.Defaults.TariffPlan)
	rs.Defaults.Tenant, rs.Defaults.SpeedMode = strings.ToLower(r.Defaults.Tenant), strings.ToLower(r.Defaults.SpeedMode)
	rs.AllowedDomains = nil
	for _, domain := range r.AllowedDomains {
		rs.AllowedDomains = append(rs.AllowedDomains, strings.ToLower(strings.TrimSpace(domain)))
	}
	return rs
}

// CheckDefaults judges the defaults by the rules of the columns they stand for, so that a mistyped one is told once and
// not stored with every row. A default that is not given is none of its business. It returns every problem, without a line.
func (r Rules) CheckDefaults() []Problem {
	rs, row := newRuleset(r), Row{}
	if d := r.Defaults; d.App != "" {
		named(&row, colApp, d.App, "", r.Apps)
	}
	if d := r.Defaults; d.Account != "" {
		row.Account = named(&row, colAccount, d.Account, "", r.Accounts)
	}
	tenant(&row, rs.Defaults.Tenant, "")
	// A name says nothing before the account is known; each row tells then.
	if _, isNumber := planID(rs.Defaults.TariffPlan); isNumber || row.Account != "" || rs.Defaults.TariffPlanTypeID != 0 {
		if rs.Defaults.TariffPlan != "" || rs.Defaults.TariffPlanTypeID != 0 {
			rs.tariff(&row, "")
		}
	}
	if mode := rs.Defaults.SpeedMode; mode != "" {
		speed(&row, mode, "")
	}
	return row.Problems
}

// judge fills a row from a record and notes everything that is wrong with it,
// so that an operator mends a row once.
func (rs ruleset) judge(at layout, record []string, line int) Row {
	row := Row{Line: line}
	cell := func(col int) string {
		if at[col] < 0 {
			return ""
		}
		value := strings.TrimSpace(record[at[col]])
		if len(value) <= MaxField {
			return value
		}
		row.refuse(columnNames()[col], note{"too_long", "the value is longer than 4 KiB", "shorten it"})
		return ""
	}
	rs.email(&row, cell(colEmail))
	row.FromName = text(&row, colFromName, cell(colFromName))
	row.ExternalID = text(&row, colExternalID, cell(colExternalID))
	row.App = named(&row, colApp, cell(colApp), rs.Defaults.App, rs.Apps)
	row.Account = named(&row, colAccount, cell(colAccount), rs.Defaults.Account, rs.Accounts)
	row.Tenant = tenant(&row, cell(colTenant), rs.Defaults.Tenant)
	row.TariffPlanTypeID = rs.tariff(&row, cell(colTariff))
	row.SpeedMode = speed(&row, cell(colSpeed), rs.Defaults.SpeedMode)
	return row
}

func (rs ruleset) email(row *Row, given string) {
	if given == "" && len(row.Problems) > 0 {
		return // it was too long: saying that it is empty would mislead
	}
	address, problem := Address(given)
	row.Email = address
	if problem != nil {
		problem.Line = row.Line
		row.Problems = append(row.Problems, *problem)
		return
	}
	_, domain, _ := strings.Cut(address, "@")
	if !rs.allowed(domain) {
		row.refuse("email", note{"email_domain_not_allowed", "the domain is not among the allowed ones", "remove the row, or allow the domain for this campaign"})
		return
	}
	row.warn("email", addressWarning(address))
}

func (rs ruleset) allowed(domain string) bool {
	if len(rs.AllowedDomains) == 0 {
		return true
	}
	return slices.ContainsFunc(rs.AllowedDomains, func(pattern string) bool {
		if parent, ok := strings.CutPrefix(pattern, "*"); ok {
			return strings.HasPrefix(parent, ".") && strings.HasSuffix(domain, parent) && len(domain) > len(parent)
		}
		return domain == pattern
	})
}

func speed(row *Row, given, otherwise string) string {
	mode := strings.ToLower(given)
	if mode == "" {
		mode = otherwise
	}
	switch mode {
	case "slow", "medium", "fast":
	case "":
		row.refuse(columnNames()[colSpeed], note{"speed_missing", "there is no speed mode and no default", "use slow, medium or fast"})
	default:
		row.refuse(columnNames()[colSpeed], note{"speed_unknown", "the speed mode is unknown", "use slow, medium or fast"})
	}
	return mode
}

// text accepts any visible text of one line. It is stored as it is; whoever
// shows it escapes it, and whoever exports it guards it.
func text(row *Row, col int, given string) string {
	column := columnNames()[col]
	switch {
	case len(given) > maxText:
		row.refuse(column, note{"text_too_long", "the value is longer than 256 bytes", "shorten it"})
	case strings.ContainsAny(given, "\r\n"):
		row.refuse(column, note{"line_break", "the value contains a line break", "remove it"})
	case strings.ContainsFunc(given, unicode.IsControl):
		row.refuse(column, note{"control_character", "the value contains a control character", "type it anew"})
	case strings.ContainsFunc(given, misleading):
		row.refuse(column, note{"invisible_character", "the value contains an invisible character", "type it anew"})
	}
	return given
}

// misleading is invisible without the joiners and selectors that names in some
// scripts, and emoji, need.
func misleading(c rune) bool {
	return invisible(c) && c != '\u200c' && c != '\u200d' && !unicode.Is(unicode.Variation_Selector, c)
}

// named resolves the name of an app or account in its configured spelling.
// Names become parts of subjects, so their form matters even if none is known.
func named(row *Row, col int, given, otherwise string, known []string) string {
	column := columnNames()[col]
	name := given
	if name == "" {
		name = otherwise
	}
	if name == "" {
		row.refuse(column, note{Code(column + "_missing"), "there is no " + column + " and no default", "fill it in, or give the campaign a default"})
		return ""
	}
	i := slices.IndexFunc(known, func(k string) bool { return strings.EqualFold(k, name) })
	switch {
	case i >= 0:
		return known[i]
	case len(known) > 0:
		row.refuse(column, note{Code(column + "_unknown"), "the " + column + " is not configured", unknownRemedy(name, known)})
	case !nameForm(name):
		row.refuse(column, note{Code(column + "_invalid"), "the " + column + " is not a valid name", "use letters, digits, - and _, at most 64"})
	}
	return name
}

func unknownRemedy(name string, known []string) string {
	if near := closest(strings.ToLower(name), known); near != "" {
		return "did you mean " + near + "?"
	}
	return "use one of " + strings.Join(known[:min(len(known), 8)], ", ")
}

func nameForm(name string) bool {
	return len(name) <= 64 && letterOrDigit(rune(name[0])) &&
		!strings.ContainsFunc(name, func(c rune) bool { return !letterOrDigit(c) && c != '-' && c != '_' })
}

// tenant accepts a tenant's GUID, one of its domains, or a well-known name.
func tenant(row *Row, given, otherwise string) string {
	name := strings.ToLower(given)
	if name == "" {
		return otherwise
	}
	switch name {
	case "organizations", "common", "consumers":
		return name
	}
	if !guid(name) && (!strings.Contains(name, ".") || len(name) > 253 || domainForm(name).code != "") {
		row.refuse(columnNames()[colTenant], note{"tenant_invalid", "the tenant is neither a GUID nor a domain", "copy the directory (tenant) id from the Azure portal"})
	}
	return name
}

func guid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i, c := range s {
		dash := i == 8 || i == 13 || i == 18 || i == 23
		if dash != (c == '-') || !dash && !strings.ContainsRune("0123456789abcdef", c) {
			return false
		}
	}
	return true
}
