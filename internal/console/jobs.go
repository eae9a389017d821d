package console

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"kindling/internal/console/roster"
	"kindling/internal/mailbox"
)

// The kinds of job.
const (
	jobReplay    = "replay"
	jobDiscard   = "discard"
	jobReinvite  = "reinvite"
	jobReconnect = "reconnect"
)

// The states of a job.
const (
	JobWaiting   = "waiting"   // for its turn
	JobRunning   = "running"   //
	JobCanary    = "canary"    // waits for what becomes of the first ones
	JobSettling  = "settling"  // all is replayed; waits for what becomes of it
	JobStopped   = "stopped"   // too many failures, no news for long, or the store was away; may be resumed
	JobCancelled = "cancelled" // by an operator; may be resumed
	JobDone      = "done"
)

// Job is a bulk verb under way. It belongs to the console that started it; what it has not done when that console ends
// is still there and can be chosen again.
type Job struct {
	ID         string    `json:"id"`
	Kind       string    `json:"kind"` // replay, discard, reinvite or reconnect
	State      string    `json:"state"`
	Selection  string    `json:"selection"`
	By         string    `json:"by"`
	Reason     string    `json:"reason,omitempty"`
	Total      int       `json:"total"`
	Done       int       `json:"done"`
	Skipped    int       `json:"skipped"`   // were gone or could not be done
	Recovered  int       `json:"recovered"` // of the replayed mailboxes: dead no longer, and nothing is under way; of others: reconnected
	DiedAgain  int       `json:"died_again"`
	Canary     int       `json:"canary,omitempty"`
	MaxFailure float64   `json:"max_failure"` // percent
	Rate       float64   `json:"rate"`        // per second
	Note       string    `json:"note,omitempty"`
	CreatedAt  time.Time `json:"created_at"`
	EndedAt    time.Time `json:"ended_at,omitzero"`

	items     []uint64
	mailboxes []mailbox.ID
	replayed  []replayed          // by item
	watched   int                 // replayed mailboxes that are known
	canaried  bool                // nothing of the canary is undecided
	underWay  map[string]int      // undecided, by account; only the goroutine that runs the job looks at this
	undecided map[roster.Way]bool // the ways of those; likewise
	accounts  []string            // that a reconnection's mailboxes are of
	cancelled bool
	actor     actor
	request   string
}

// JobList answers GET /replays, newest first.
type JobList struct {
	Jobs []Job `json:"jobs"`
}

// Ended reports whether the job will do nothing more by itself.
func (j Job) Ended() bool {
	return j.State == JobDone || j.State == JobStopped || j.State == JobCancelled
}

// watches reports whether what becomes of the job's mailboxes can stop it.
func (j Job) watches() bool { return j.Kind == jobReplay || j.Kind == jobReconnect }

// left counts the items that were neither done nor skipped.
func (j Job) left() int { return j.Total - j.Done - j.Skipped }

func newJob(kind string, p Preview, b BulkOptions, by string) Job {
	j := Job{
		ID: strings.ToLower(rand.Text()[:12]), Kind: kind, State: JobWaiting, Selection: p.Selection, By: by, Reason: b.Reason,
		Total: p.Count, Canary: b.Canary, MaxFailure: b.MaxFailure, Rate: b.Rate, items: p.Items, mailboxes: p.Mailboxes,
	}
	if j.MaxFailure == 0 {
		j.MaxFailure = defaultMaxFailure
	}
	if j.Rate == 0 {
		j.Rate = defaultRate
	}
	return j
}

// jobs holds the jobs of this console. Only the goroutine that runs a job changes its items; everything else of it is
// changed under the lock.
type jobs struct {
	mu      sync.Mutex
	all     []*Job // oldest first
	waiting []*Job // for their turns, oldest first
	running []*Job
	changed chan struct{} // has one element when more may begin
}

const maxJobs = 200 // remembered

func newJobs() *jobs { return &jobs{changed: make(chan struct{}, 1)} }

// startJob records the intent and queues the job.
func (c *Console) startJob(r *request, j Job) (Job, error) {
	j.actor, j.request, j.CreatedAt = r.actor, r.id, c.cfg.Now().UTC()
	j.accounts = c.accountsOf(&j)
	if err := c.intend(r.Context(), r.actor, r.id, deedOf(&j)); err != nil {
		return Job{}, err
	}
	if err := c.jobs.enqueue(&j); err != nil {
		c.concluded(r.Context(), r.actor, r.id, deedOf(&j), err)
		return Job{}, err
	}
	view, _ := c.jobs.get(j.ID)
	return view, nil
}

// deedOf words a job for the audit trail.
func deedOf(j *Job) deed {
	noun := "dead."
	if j.Kind == jobReinvite || j.Kind == jobReconnect {
		noun = "mailbox."
	}
	return deed{action: noun + j.Kind, target: j.Selection, count: j.Total, reason: j.Reason}
}

func (s *jobs) enqueue(j *Job) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.full(j) {
		return problem(http.StatusTooManyRequests, "too_many_jobs", "too many jobs are waiting", "wait for some to end, or cancel them")
	}
	s.waiting = append(s.waiting, j)
	s.wake()
	if !slices.Contains(s.all, j) {
		s.all = append(s.all, j)
	}
	if len(s.all) > maxJobs {
		s.all = slices.DeleteFunc(s.all, func(old *Job) bool { return old == s.firstEnded() })
	}
	return nil
}

func (s *jobs) firstEnded() *Job {
	i := slices.IndexFunc(s.all, func(j *Job) bool { return j.Ended() })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// change changes a job under the lock.
func (s *jobs) change(j *Job, apply func(*Job)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	apply(j)
}

func (s *jobs) list() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	views := make([]Job, 0, len(s.all))
	for _, j := range slices.Backward(s.all) {
		views = append(views, *j)
	}
	return views
}

func (s *jobs) get(id string) (Job, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.find(id); j != nil {
		return *j, true
	}
	return Job{}, false
}

func (s *jobs) find(id string) *Job {
	if i := slices.IndexFunc(s.all, func(j *Job) bool { return j.ID == id }); i >= 0 {
		return s.all[i]
	}
	return nil
}

func (c *Console) getJobs(r *request) error {
	return writeJSON(r.w, http.StatusOK, JobList{Jobs: c.jobs.list()})
}

func (c *Console) getJob(r *request) error {
	j, ok := c.jobs.get(r.PathValue("id"))
	if !ok {
		return errNotThere("job")
	}
	return writeJSON(r.w, http.StatusOK, j)
}

func (c *Console) postCancel(r *request) error {
	j, err := c.cancelJob(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusOK, j)
}

func (c *Console) cancelJob(r *request, id string) (Job, error) {
	if _, ok := c.jobs.get(id); !ok {
		return Job{}, errNotThere("job")
	}
	err := c.audited(r.Context(), r, deed{action: "job.cancel", target: id, count: 1}, func(context.Context) error {
		c.jobs.mu.Lock()
		defer c.jobs.mu.Unlock()
		if j := c.jobs.find(id); j != nil && !j.Ended() {
			j.cancelled = true
			c.jobs.wake()
		}
		return nil
	})
	j, _ := c.jobs.get(id)
	return j, err
}

func (c *Console) postResume(r *request) error {
	j, err := c.resumeJob(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return writeJSON(r.w, http.StatusAccepted, j)
}

// resumeJob lets a stopped or cancelled job go on behind its last step.
func (c *Console) resumeJob(r *request, id string) (Job, error) {
	view, ok := c.jobs.get(id)
	switch {
	case !ok:
		return Job{}, errNotThere("job")
	case view.Kind == jobDiscard && rank(r.actor.role) < rank(Admin):
		return Job{}, errForbidden(Admin)
	case view.State != JobStopped && view.State != JobCancelled:
		return Job{}, problem(http.StatusConflict, "not_stopped", "the job is not stopped", "none: it goes on or is done")
	case view.left() == 0:
		return Job{}, problem(http.StatusConflict, "nothing_left", "the job has nothing left to do", "choose the dead letters again")
	}
	if err := c.intend(r.Context(), r.actor, r.id, deed{action: "job.resume", target: id, count: 1}); err != nil {
		return Job{}, err
	}
	c.jobs.mu.Lock()
	j := c.jobs.find(id)
	resumes := j != nil && j.Ended() && j.State != JobDone
	if resumes {
		j.State, j.Note, j.cancelled, j.EndedAt = JobWaiting, "", false, time.Time{}
		c.keepUndecided(j)
		j.actor, j.request = r.actor, r.id
	}
	c.jobs.mu.Unlock()
	if !resumes {
		return Job{}, problem(http.StatusConflict, "not_stopped", "somebody else has resumed it", "none")
	}
	if err := c.jobs.enqueue(j); err != nil {
		c.jobs.change(j, func(j *Job) { j.State, j.Note = JobStopped, "too many jobs were waiting" })
		return Job{}, err
	}
	view, _ = c.jobs.get(id)
	return view, nil
}
