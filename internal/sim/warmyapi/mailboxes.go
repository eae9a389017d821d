package warmyapi

import (
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"kindling/internal/sim/trouble"
)

// Mailbox is a mailbox at the simulated Warmy.
type Mailbox struct {
	ID               int64     `json:"id"`
	Email            string    `json:"email"`
	FromName         string    `json:"from_name"`
	Provider         string    `json:"provider"`
	StateKey         string    `json:"state_key"`
	StateDescription string    `json:"state_description"`
	WarmupActive     bool      `json:"warmup_active"`
	TariffPlanTypeID *int64    `json:"tariff_plan_type_id"`
	SpeedMode        string    `json:"speed_mode"`
	CreatedAt        time.Time `json:"created_at"`
	// Owner is the address whose tokens came with it, if Inspect knows.
	Owner string `json:"-"`
}

// States of a mailbox.
const (
	statePaused = "not_active"
	stateActive = "updated"
)

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(w, r.Body, 1<<20))
}

func idText(id int64) string { return strconv.FormatInt(id, 10) }

// wrong is a Rails answer with one general error.
func wrong(text string) map[string][]string { return map[string][]string{"errors": {text}} }

// posting is the body of a POST.
type posting struct {
	Mailbox *struct {
		Email            string `json:"email"`
		Provider         string `json:"provider"`
		FromName         string `json:"from_name"`
		ClientID         string `json:"client_id"`
		ClientSecret     string `json:"client_secret"`
		AccessToken      string `json:"access_token"`
		RefreshToken     string `json:"refresh_token"`
		TariffPlanTypeID *int64 `json:"tariff_plan_type_id"`
		Setting          struct {
			SpeedMode string `json:"speed_mode"`
		} `json:"setting_attributes"`
	} `json:"mailbox"`
}

// creating finds out whose mailbox a POST is for: the email it names, or the
// owner of its tokens.
func (s *Server) creating(body []byte) string {
	var in posting
	if json.Unmarshal(body, &in) != nil || in.Mailbox == nil {
		return ""
	}
	address := strings.ToLower(strings.TrimSpace(in.Mailbox.Email))
	if address == "" && s.cfg.Inspect != nil {
		address, _ = s.cfg.Inspect(in.Mailbox.AccessToken, in.Mailbox.RefreshToken)
	}
	return strings.ToLower(address)
}

func (s *Server) create(v *visit) trouble.Reply {
	var in posting
	if err := json.Unmarshal(v.body, &in); err != nil || in.Mailbox == nil {
		return trouble.JSON(http.StatusBadRequest, map[string]any{
			"status": 400, "error": "param is missing or the value is empty: mailbox",
		})
	}
	if faults := s.validate(in); len(faults) > 0 {
		return trouble.JSON(http.StatusUnprocessableEntity, map[string]any{"errors": faults})
	}
	m := in.Mailbox
	owner, works := "", true
	if s.cfg.Inspect != nil {
		owner, works = s.cfg.Inspect(m.AccessToken, m.RefreshToken)
	}
	if !works {
		return trouble.JSON(http.StatusBadRequest, map[string]string{"message": "Please recheck your credentials and try again"})
	}
	box := Mailbox{
		Email: v.address, FromName: m.FromName, Provider: m.Provider, TariffPlanTypeID: m.TariffPlanTypeID,
		SpeedMode: m.Setting.SpeedMode, CreatedAt: s.now(), Owner: strings.ToLower(owner),
		StateKey: stateActive, WarmupActive: true,
	}
	if s.switches.Load().StartPaused {
		box.StateKey, box.WarmupActive = statePaused, false
	}
	data := map[string]any{"tariff_plan_type_id": m.TariffPlanTypeID}
	if other := s.switches.Load().OtherAddress; other != "" {
		box.Email, data["email"] = other, other
	}
	id, created, ok := s.store.put(box, s.switches.Load().Duplicate)
	if !ok {
		return trouble.JSON(http.StatusUnprocessableEntity, map[string]any{"errors": map[string][]string{"email": {"has already been taken"}}})
	}
	v.post.ID, v.post.Created, data["id"] = id, created, id
	return trouble.JSON(http.StatusOK, map[string]any{"message": []string{"Mailbox was successfully connected"}, "data": data})
}

// validate returns the errors by field, in Rails' words.
func (s *Server) validate(in posting) map[string][]string {
	m, faults := in.Mailbox, map[string][]string{}
	required := map[string]string{
		"from_name": m.FromName, "client_id": m.ClientID, "client_secret": m.ClientSecret,
		"access_token": m.AccessToken, "refresh_token": m.RefreshToken,
	}
	if s.switches.Load().RequireEmail {
		required["email"] = m.Email
	}
	for name, value := range required {
		if strings.TrimSpace(value) == "" {
			faults[name] = []string{"can't be blank"}
		}
	}
	if m.Provider != "oauth_outlook" {
		faults["provider"] = []string{"is not included in the list"}
	}
	if m.Email != "" && !strings.Contains(m.Email, "@") {
		faults["email"] = []string{"is invalid"}
	}
	if m.TariffPlanTypeID == nil || !s.plan(*m.TariffPlanTypeID) {
		faults["tariff_plan_type"] = []string{"must exist"}
	}
	if !slices.Contains([]string{"", "slow", "medium", "fast"}, m.Setting.SpeedMode) {
		faults["setting.speed_mode"] = []string{"is not included in the list"}
	}
	return faults
}

func (s *Server) plan(id int64) bool {
	return slices.ContainsFunc(s.cfg.Plans, func(p Plan) bool { return p.ID == id })
}

func (s *Server) plans(*visit) trouble.Reply { return trouble.JSON(http.StatusOK, s.cfg.Plans) }

// list pages through the mailboxes in the order of their ids.
func (s *Server) list(v *visit) trouble.Reply {
	q := v.URL.Query()
	page, size := number(q.Get("page"), 1), number(q.Get("per_page"), 25)
	if page < 1 || size < 1 || size > 100 {
		return trouble.JSON(http.StatusUnprocessableEntity, wrong("per_page must be between 1 and 100"))
	}
	before := s.now().Add(-time.Duration(s.switches.Load().ListingLag))
	boxes, total := s.store.page(strings.ToLower(q.Get("filter[email]")), before, (page-1)*size, size)
	items := make([]any, len(boxes))
	for i, box := range boxes {
		items[i] = box
		if q.Get("response_type") == "simple" {
			items[i] = map[string]any{"id": box.ID, "email": box.Email}
		}
	}
	pages := (total + size - 1) / size
	return trouble.JSON(http.StatusOK, map[string]any{"items": items, "pagination": map[string]any{
		"current_page": page, "total_pages": pages, "total_count": total,
		"next_page": pageOrNull(page+1, pages), "prev_page": pageOrNull(page-1, pages),
	}})
}

func number(text string, fallback int) int {
	if text == "" {
		return fallback
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

func pageOrNull(page, pages int) any {
	if page < 1 || page > pages {
		return nil
	}
	return page
}

// named finds the mailbox in the path.
func (s *Server) named(v *visit) (Mailbox, bool) {
	id, err := strconv.ParseInt(v.PathValue("id"), 10, 64)
	if err != nil {
		return Mailbox{}, false
	}
	return s.store.get(id)
}

func missing() trouble.Reply {
	return trouble.JSON(http.StatusNotFound, map[string]any{"status": 404, "error": "Not Found"})
}

func (s *Server) get(v *visit) trouble.Reply {
	box, ok := s.named(v)
	if !ok {
		return missing()
	}
	return trouble.JSON(http.StatusOK, box)
}

func (s *Server) remove(v *visit) trouble.Reply {
	box, ok := s.named(v)
	if !ok {
		return missing()
	}
	s.store.remove(box.ID)
	return s.done(map[string]any{"message": []string{"Mailbox was deleted"}})
}

// done answers where there is nothing to tell.
func (s *Server) done(body any) trouble.Reply {
	if s.switches.Load().PlainText {
		return trouble.Text(http.StatusOK, "success")
	}
	return trouble.JSON(http.StatusOK, body)
}

func (s *Server) updateState(v *visit) trouble.Reply {
	box, ok := s.named(v)
	if !ok {
		return missing()
	}
	var in struct {
		Mailbox struct {
			State string `json:"state"`
		} `json:"mailbox"`
	}
	_ = json.Unmarshal(v.body, &in)
	switch {
	case in.Mailbox.State == "activate!" && box.StateKey == statePaused:
		box.StateKey, box.WarmupActive = stateActive, true
	case in.Mailbox.State == "pause!" && box.StateKey == stateActive:
		box.StateKey, box.WarmupActive = statePaused, false
	default:
		return trouble.JSON(http.StatusUnprocessableEntity, wrong("not allowed transmission"))
	}
	s.store.replace(box)
	return s.done(box)
}

func (s *Server) changePlan(v *visit) trouble.Reply {
	box, ok := s.named(v)
	if !ok {
		return missing()
	}
	var in struct {
		Mailbox struct {
			TariffPlanTypeID *int64 `json:"tariff_plan_type_id"`
		} `json:"mailbox"`
	}
	err := json.Unmarshal(v.body, &in)
	if plan := in.Mailbox.TariffPlanTypeID; err != nil || plan != nil && !s.plan(*plan) {
		return trouble.JSON(http.StatusUnprocessableEntity, map[string]any{"errors": map[string][]string{"tariff_plan_type": {"must exist"}}})
	}
	box.TariffPlanTypeID = in.Mailbox.TariffPlanTypeID
	s.store.replace(box)
	return s.done(box)
}
