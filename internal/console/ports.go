// Package console is the operators' way in: the HTTP API under /api/v1 and the pages at /.
//
// It imports campaigns, hands out links, shows every mailbox with the reason why it is where it is, and puts right what
// failed: by replay where time or a setting helps, by a new link where only the owner can. It promises that nothing
// is changed by anyone who is not known, allowed and recorded: a change whose intent cannot be written to the audit
// trail does not happen. It holds no key that opens a code or a token, and shows none.
package console

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"kindling/internal/campaign"
	"kindling/internal/events"
	"kindling/internal/handlers"
	"kindling/internal/leg"
	"kindling/internal/mailbox"
	"kindling/internal/secret"
)

// ErrNotFound is what DeadLetters answers about a dead letter that is not, or no longer, there.
var ErrNotFound = errors.New("not found")

// ErrNotReplayable is what DeadLetters answers about a dead letter that publishing again cannot help. A replay skips it.
var ErrNotReplayable = errors.New("cannot be replayed")

// Invitations are the imported rows, which the console alone writes.
type Invitations interface {
	// Create stores invitations that do not exist yet. It answers for each: nil when it was stored,
	// handlers.ErrConflict when the mailbox has one already, any other error when it is unknown whether it was stored.
	Create(ctx context.Context, batch []mailbox.Invitation) ([]error, error)
	// Load returns the invitation and its revision; the zero value and 0 when there is none.
	Load(ctx context.Context, id mailbox.ID) (mailbox.Invitation, uint64, error)
	// Save stores the invitation if its revision still is the given one; handlers.ErrConflict otherwise.
	Save(ctx context.Context, id mailbox.ID, inv mailbox.Invitation, revision uint64) (uint64, error)
}

// Campaigns are the imported files, by their id. The console alone writes them.
type Campaigns = handlers.Records[mailbox.Campaign]

// Facts tells what all processes know of all mailboxes.
type Facts interface {
	// Follow gives sink every fact that exists, then CaughtUp, then every change until ctx ends.
	Follow(ctx context.Context, sink Sink) error
}

// Sink takes facts, in any order.
type Sink interface { //nolint:interfacebloat // one method for each kind of fact
	Campaign(c mailbox.Campaign)
	Invitation(i mailbox.Invitation)
	Claim(id mailbox.ID, c mailbox.Claim)
	Grant(id mailbox.ID, g mailbox.Grant)
	Registration(id mailbox.ID, r mailbox.Registration)
	AdminConsent(c mailbox.AdminConsent)
	CaughtUp()
}

// DeadLetters are the events that are not tried again by themselves.
type DeadLetters interface {
	// Each visits them, the oldest first, until visit returns false.
	Each(ctx context.Context, visit func(events.DeadLetter) bool) error
	// Get returns one; ErrNotFound when it is not there.
	Get(ctx context.Context, seq uint64) (events.DeadLetter, error)
	// Replay publishes the original event again with its tries reset, then removes the dead letter. It may be repeated.
	// ErrNotReplayable and ErrNotFound concern this dead letter alone; any other error stops the whole replay.
	Replay(ctx context.Context, seq uint64) error
	// Discard removes a dead letter. It may be repeated.
	Discard(ctx context.Context, seq uint64) error
}

// Events takes what an operator asks the workers for.
type Events interface {
	// Publish returns when the events are durable. Publishing them again is harmless.
	Publish(ctx context.Context, evs ...events.Event) error
}

// Legs are the dependencies on which work can be held.
type Legs interface {
	List(ctx context.Context) ([]leg.Leg, error)
	// Of returns these legs alone, in their order, at the price of these; one that nobody has served is open and idle.
	Of(ctx context.Context, names ...string) ([]leg.Leg, error)
	Hold(ctx context.Context, name, cause, by string) error
	Release(ctx context.Context, name, by string) error
}

// Audit keeps the trail of what operators did.
type Audit interface {
	// Append returns when the entry is durable.
	Append(ctx context.Context, e events.AuditEntry) error
}

// Links derives ids and consent links.
type Links interface {
	Mailbox(app, address string) mailbox.ID
	Link(id mailbox.ID, generation int) string
}

// AdminLinks writes the links for tenants' admins. The edge can read them, and nobody else.
type AdminLinks interface {
	Token(link mailbox.AdminLink) (string, error)
}

// Plans tells what Warmy offers an account, as far as warmy-worker has found out: the zero value when it has not.
type Plans interface {
	Of(ctx context.Context, account string) (campaign.Plans, error)
}

// Config is all that a Console needs. Fields without a word on it must be set.
type Config struct {
	Invitations Invitations
	Campaigns   Campaigns
	Facts       Facts
	DeadLetters DeadLetters
	Events      Events
	Legs        Legs
	Audit       Audit
	Links       Links
	AdminLinks  AdminLinks

	// The facts of the other processes, for the timeline of one mailbox. Grants are read without their tokens' texts.
	Claims        handlers.Reader[mailbox.Claim]
	Grants        handlers.Reader[mailbox.Grant]
	Registrations handlers.Reader[mailbox.Registration]

	Plans Plans // nil: those of no account are known

	Apps           []string          // configured names; nil accepts any
	AppTenants     map[string]string // the apps' tenants, by name; an app that is not there serves many
	Accounts       []string          // configured names; nil accepts any
	AllowedDomains []string          // see campaign.Rules; nil allows all
	Budgets        map[string]Budget // of the accounts, by name, as far as configured
	Expiries       []Expiry          // of the apps' client secrets, as far as configured
	Defaults       campaign.Defaults
	PublicURL      string        // of the edge, before "/c/<link>"
	LinkLife       time.Duration // of a consent link; 0: 14 days
	ReconcileAfter time.Duration // from an unclear POST to the listing that settles it; 0: one minute
	OperatorsFile  string        // see LoadOperators; read again when it changes
	Log            *slog.Logger
	Now            func() time.Time // nil: time.Now
	SettleWait     time.Duration    // how long a job whose work is done waits for news of its mailboxes; 0: one minute
	StallLimit     time.Duration    // without news of its mailboxes a job with more to do stops after this; 0: half an hour
}

const (
	defaultLinkLife   = 14 * 24 * time.Hour
	defaultReconcile  = time.Minute
	defaultSettleWait = time.Minute
	defaultStallLimit = 30 * time.Minute
)

func (c Config) withDefaults() Config {
	c.LinkLife, c.ReconcileAfter = cmp.Or(c.LinkLife, defaultLinkLife), cmp.Or(c.ReconcileAfter, defaultReconcile)
	c.SettleWait, c.StallLimit = cmp.Or(c.SettleWait, defaultSettleWait), cmp.Or(c.StallLimit, defaultStallLimit)
	if c.Now == nil {
		c.Now = time.Now
	}
	return c
}

func (c Config) missing() error {
	var errs []error
	for name, absent := range map[string]bool{
		"Invitations": c.Invitations == nil, "Campaigns": c.Campaigns == nil, "Facts": c.Facts == nil,
		"DeadLetters": c.DeadLetters == nil, "Events": c.Events == nil, "Legs": c.Legs == nil, "Audit": c.Audit == nil, "Links": c.Links == nil, "AdminLinks": c.AdminLinks == nil,
		"Claims": c.Claims == nil, "Grants": c.Grants == nil, "Registrations": c.Registrations == nil,
		"PublicURL": c.PublicURL == "", "OperatorsFile": c.OperatorsFile == "", "Log": c.Log == nil,
	} {
		if absent {
			errs = append(errs, errors.New("console: "+name+" is not set"))
		}
	}
	return errors.Join(errs...)
}

// linkURL is what an owner is sent. It is a secret of that owner: it goes to operators' exports and nowhere else.
func (c Config) linkURL(id mailbox.ID, generation int) secret.Text {
	return secret.New(c.PublicURL + "/c/" + c.Links.Link(id, generation))
}
