package console

import (
	"bytes"
	"cmp"
	"compress/flate"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/handlers"
	"kindling/internal/mailbox"
)

// importTime bounds an upload: a line slower than that would hold it for ever.
const importTime = 15 * time.Minute

// importForm is how a campaign is imported, whether it came as a query or as fields of a form.
type importForm struct {
	name     string
	defaults campaign.Defaults
	dryRun   bool
	file     io.Reader
}

func (c *Console) postCampaign(r *request) error {
	form, err := c.importForm(r)
	if err != nil {
		return err
	}
	spool := newSpool()
	m := &importer{}
	if strings.Contains(r.Header.Get("Accept"), "text/csv") {
		m.results = spool.write
	}
	if err := c.importCampaign(r, form, m); err != nil {
		return err
	}
	if m.report.File != nil && m.report.Rows == 0 {
		p := problem(http.StatusUnprocessableEntity, "file_refused", m.report.File.Reason, m.report.File.Remedy)
		p.Code = "file_" + string(m.report.File.Code)
		return p
	}
	if m.results != nil {
		return spool.answer(r.w, m.report)
	}
	return writeJSON(r.w, http.StatusOK, m.report)
}

// importCampaign imports a form's file. Importing again under the same name adds what is new and corrects what may still
// be corrected.
func (c *Console) importCampaign(r *request, form importForm, m *importer) error {
	control := http.NewResponseController(r.w)
	until := time.Now().Add(importTime)
	_ = errors.Join(control.SetReadDeadline(until), control.SetWriteDeadline(until)) // a server without deadlines needs none lifted
	if err := checkName(form.name); err != nil {
		return err
	}
	ctx := r.Context()
	m.report.DryRun = form.dryRun
	m.created = mailbox.Campaign{
		ID: campaignID(form.name), Name: form.name, App: form.defaults.App, Account: form.defaults.Account,
		CreatedAt: c.cfg.Now().UTC().Truncate(time.Millisecond), CreatedBy: r.actor.name,
	}
	plans, err := c.plans(ctx)
	if err != nil {
		return err
	}
	rules := campaign.Rules{Defaults: form.defaults, Apps: c.cfg.Apps, Accounts: c.cfg.Accounts, AllowedDomains: c.cfg.AllowedDomains, Plans: plans}
	if wrong := givenDefaults(rules).CheckDefaults(); len(wrong) > 0 {
		return errBadRequest("bad_default", "the campaign's default "+wrong[0].Column+" is refused: "+wrong[0].Reason, wrong[0].Remedy)
	}
	if form.dryRun {
		return c.importFile(ctx, form.file, rules, m)
	}
	d := deed{action: "campaign.import", target: m.created.ID}
	return c.audited(ctx, r, d, func(ctx context.Context) error {
		if err := c.saveCampaign(ctx, m.created, nil); err != nil {
			return err
		}
		err := c.importFile(ctx, form.file, rules, m)
		return errors.Join(err, c.saveCampaign(context.WithoutCancel(ctx), m.created, &m.report))
	})
}

// plans are those of all accounts whose plans are known.
func (c *Console) plans(ctx context.Context) (map[string]campaign.Plans, error) {
	known := map[string]campaign.Plans{}
	if c.cfg.Plans == nil {
		return known, nil
	}
	for _, account := range c.cfg.Accounts {
		plans, err := c.cfg.Plans.Of(ctx, account)
		if err != nil {
			return nil, errUnavailable(err)
		}
		if plans.Known() {
			known[account] = plans
		}
	}
	return known, nil
}

// givenDefaults leaves out the configured plan, which belongs to one account: each row without a plan of its own tells
// whether it is one of its account.
func givenDefaults(rules campaign.Rules) campaign.Rules {
	rules.Defaults.TariffPlanTypeID = 0
	return rules
}

// saveCampaign adds an import to the campaign's record, which it makes if need be.
func (c *Console) saveCampaign(ctx context.Context, made mailbox.Campaign, report *ImportReport) error {
	for range 10 {
		fact, revision, err := c.cfg.Campaigns.Load(ctx, made.ID)
		if err != nil {
			return errUnavailable(err)
		}
		if fact.ID == "" {
			fact = made
		}
		if report != nil {
			fact.SHA256, fact.Rows, fact.Known, fact.Refused = report.SHA256, report.Rows, report.Known+report.Updated, report.Refused
			fact.Invited += report.Invited
		}
		_, err = c.cfg.Campaigns.Save(ctx, made.ID, fact, revision)
		if err == nil {
			c.roster.Campaign(fact)
			return nil
		}
		if !errors.Is(err, handlers.ErrConflict) {
			return errUnavailable(err)
		}
	}
	return problem(http.StatusConflict, "busy", "others are importing into the same campaign", "wait for them, then import the file again")
}

const maxCampaignName = 100

func checkName(name string) error {
	bad := strings.ContainsFunc(name, func(c rune) bool { return c < ' ' || c == 0x7f || c == '�' })
	if name == "" || len(name) > maxCampaignName || bad || strings.Contains(name, "@") {
		return errBadRequest("bad_name", "the campaign needs a name of 1 to 100 bytes without control characters and @", "give it a name, such as that of the customer and the month")
	}
	return nil
}

// campaignID derives a campaign's id from its name, so that importing twice under one name meets the same campaign.
func campaignID(name string) string {
	folded := strings.ToLower(strings.TrimSpace(name))
	var slug strings.Builder
	for _, c := range folded {
		switch {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			slug.WriteRune(c)
		case slug.Len() > 0 && !strings.HasSuffix(slug.String(), "-"):
			slug.WriteByte('-')
		}
		if slug.Len() == 32 {
			break
		}
	}
	sum := sha256.Sum256([]byte(folded))
	tail := strings.ToLower(base32.StdEncoding.EncodeToString(sum[:5]))
	return strings.TrimPrefix(strings.TrimSuffix(slug.String(), "-")+"-"+tail, "-")
}

// importForm reads the query and, of a multipart body, the fields before the file.
func (c *Console) importForm(r *request) (importForm, error) {
	r.Body = http.MaxBytesReader(r.w, r.Body, campaign.MaxBytes+maxBody)
	fields := map[string]string{}
	for key, values := range r.URL.Query() {
		fields[key] = values[0]
	}
	kind, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err == nil && kind == "multipart/form-data":
		return c.multipartForm(r, params["boundary"], fields)
	case err == nil && (kind == "text/csv" || kind == "application/csv" || kind == "application/octet-stream"):
		form, err := c.formOf(fields)
		form.file = r.Body
		return form, err
	}
	return importForm{}, problem(http.StatusUnsupportedMediaType, "not_csv", "the body is declared neither as CSV nor as a form",
		"send Content-Type: text/csv")
}

const maxFormField = 4 << 10

func (c *Console) multipartForm(r *request, boundary string, fields map[string]string) (importForm, error) {
	parts := multipart.NewReader(r.Body, boundary)
	for {
		part, err := parts.NextPart()
		if err != nil {
			return importForm{}, errBadRequest("no_file", "the form has no file", "choose a file").because(err)
		}
		if part.FormName() == "file" {
			if fields["name"] == "" {
				fields["name"] = nameOfFile(part.FileName())
			}
			form, err := c.formOf(fields)
			form.file = part
			return form, err
		}
		value, err := io.ReadAll(io.LimitReader(part, maxFormField))
		if err != nil {
			return importForm{}, errBadRequest("bad_form", "the form could not be read", "send it again").because(err)
		}
		fields[part.FormName()] = strings.TrimSpace(string(value))
	}
}

func nameOfFile(file string) string {
	file = file[strings.LastIndexAny(file, `/\`)+1:]
	return strings.TrimSuffix(file, ".csv")
}

func (c *Console) formOf(fields map[string]string) (importForm, error) {
	form := importForm{name: strings.TrimSpace(fields["name"]), defaults: c.cfg.Defaults}
	for key, value := range fields {
		var err error
		switch key {
		case "name":
		case "app":
			form.defaults.App = cmp.Or(value, form.defaults.App)
		case "account":
			form.defaults.Account = cmp.Or(value, form.defaults.Account)
		case "tenant":
			form.defaults.Tenant = cmp.Or(value, form.defaults.Tenant)
		case "speed_mode":
			form.defaults.SpeedMode = cmp.Or(value, form.defaults.SpeedMode)
		case "tariff_plan_type_id":
			form.defaults.TariffPlan = value
		case "dry_run":
			form.dryRun, err = truth(value)
		default:
			err = errors.New("unknown")
		}
		if err != nil {
			return importForm{}, errBadRequest("bad_parameter", fmt.Sprintf("the parameter %.40q is unknown or has a wrong value", key), "known are name, app, account, tenant, speed_mode, tariff_plan_type_id (an id or a name) and dry_run (true or false)")
		}
	}
	return form, nil
}

func truth(value string) (bool, error) {
	switch value {
	case "", "false", "0":
		return false, nil
	case "true", "1", "on":
		return true, nil
	}
	return false, errors.New("not a truth value")
}

// spool keeps a result CSV compressed until the whole file was read: most clients send all before they read anything.
type spool struct {
	packed bytes.Buffer
	pack   *flate.Writer
	csv    *campaign.Writer
}

func newSpool() *spool {
	s := &spool{}
	s.pack, _ = flate.NewWriter(&s.packed, flate.BestSpeed) // fails for unknown levels only
	s.csv = campaign.NewWriter(s.pack)
	return s
}

func (s *spool) write(res campaign.Result) error { return s.csv.Write(res) }

// ReportHeader carries the ImportReport, without its problems, of an answer that is a CSV.
const ReportHeader = "Kindling-Report"

func (s *spool) answer(w http.ResponseWriter, report ImportReport) error {
	if err := errors.Join(s.csv.Flush(), s.pack.Close()); err != nil {
		return fmt.Errorf("pack results: %w", err)
	}
	report.Problems, report.Name = nil, ""
	summary, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("encode report: %w", err)
	}
	w.Header().Set(ReportHeader, string(summary))
	startFile(w, "text/csv; charset=utf-8", report.Campaign+"-result.csv")
	_, _ = io.Copy(w, flate.NewReader(&s.packed)) // the caller has gone; there is nobody to tell
	return nil
}

// startFile begins an answer that a browser saves, and that may take longer than a page.
func startFile(w http.ResponseWriter, kind, name string) {
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(importTime)) // a server without deadlines needs none lifted
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	w.WriteHeader(http.StatusOK)
}
