package campaign

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Plan is a tariff plan of a Warmy account. Its id differs from account to account; its name is Warmy's text.
type Plan struct {
	ID   int    `json:"id"`
	Name string `json:"name"`
}

// Plans are the tariff plans of one account as they were at a time. The zero value says that they are not known.
type Plans struct {
	LookedUp time.Time `json:"looked_up,omitzero"`
	List     []Plan    `json:"plans,omitempty"`
}

// Known reports whether Warmy was asked.
func (p Plans) Known() bool { return !p.LookedUp.IsZero() }

// named returns the ids of the plans with a name, whatever its case and blanks.
func (p Plans) named(name string) (ids []int) {
	for _, plan := range p.List {
		if name != "" && strings.EqualFold(folded(plan.Name), folded(name)) && !slices.Contains(ids, plan.ID) {
			ids = append(ids, plan.ID)
		}
	}
	return ids
}

func folded(name string) string { return strings.Join(strings.Fields(name), " ") }

// Offers reports whether a plan with this id is among them.
func (p Plans) Offers(id int) bool {
	return slices.ContainsFunc(p.List, func(plan Plan) bool { return plan.ID == id })
}

// mostOffered bounds how many plans a remedy lists, longestName how long a name in it may be.
const mostOffered, longestName = 12, 30

// String lists the plans by id, and by name where that is harmless to show: it is Warmy's text.
func (p Plans) String() string {
	if len(p.List) == 0 {
		return "no plan at all"
	}
	var shown []string
	for _, plan := range p.List[:min(len(p.List), mostOffered)] {
		text := strconv.Itoa(plan.ID)
		if name := folded(plan.Name); harmless(name) {
			text += " " + name
		}
		shown = append(shown, text)
	}
	if more := len(p.List) - len(shown); more > 0 {
		shown = append(shown, strconv.Itoa(more)+" more")
	}
	return strings.Join(shown, ", ")
}

// harmless reports whether a third party's text may be shown: a few plain words.
func harmless(name string) bool {
	return name != "" && len(name) <= longestName && !strings.ContainsFunc(name, func(c rune) bool {
		return !letterOrDigit(c) && !strings.ContainsRune(" -_+.", c)
	})
}

// tariff resolves the plan of a row, which names it by its id or by its name. Its account must be resolved already.
func (rs ruleset) tariff(row *Row, given string) int {
	column := columnNames()[colTariff]
	if given == "" {
		given = rs.Defaults.TariffPlan
	}
	if given == "" && rs.Defaults.TariffPlanTypeID != 0 {
		given = strconv.Itoa(rs.Defaults.TariffPlanTypeID)
	}
	id, n := resolvePlan(given, rs.Plans[row.Account])
	row.refuse(column, n)
	return id
}

func resolvePlan(given string, plans Plans) (int, note) {
	id, isNumber := planID(given)
	ids := plans.named(given)
	switch {
	case given == "":
		return 0, note{"tariff_missing", "there is no tariff plan and no default", "fill it in, or give the campaign a default"}
	case isNumber && (!plans.Known() || plans.Offers(id)):
		if id == 0 {
			return 0, note{"tariff_invalid", "the tariff plan is not a positive whole number", "use the id that Warmy lists for it, or its name"}
		}
		return id, note{}
	case len(ids) == 1:
		return ids[0], note{}
	case len(ids) > 1:
		return 0, note{"tariff_ambiguous", "several plans of the Warmy account have this name", "use the id; the account offers " + plans.String()}
	case isNumber && id == 0:
		return 0, note{"tariff_invalid", "the tariff plan is not a positive whole number", "the account offers " + plans.String()}
	case !plans.Known():
		return 0, note{
			"tariff_name_unknown", "the plans of the Warmy account are not known yet, so that a name says nothing",
			"use the id; or see that warmy-worker runs and reaches Warmy, and import again in a minute",
		}
	}
	return id, note{"tariff_unknown", "the Warmy account does not offer this tariff plan", "the account offers " + plans.String()}
}

// planID reports whether a text is meant as a number, and reads it; what no id can be is 0.
func planID(given string) (id int, isNumber bool) {
	if _, err := strconv.ParseFloat(given, 64); err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, false
	}
	n, err := strconv.ParseUint(given, 10, 31)
	if err != nil {
		return 0, true
	}
	return int(n), true
}
