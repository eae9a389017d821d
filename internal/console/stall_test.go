package console_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"kindling/internal/console"
	"kindling/internal/console/consoletest"
	"kindling/internal/leg"
)

// canaryAt begins a reconnection of account's mailboxes whose canary nobody decides, and waits until it has looked at its leg.
func canaryAt(t *testing.T, w *consoletest.World, account string, asked int) (j console.Job) {
	t.Helper()
	j = begin(t, w, fmt.Sprintf(`{"selection":{"accounts":[%q]},"confirm":3,"rate":10000,"canary":1}`, account), asked)
	w.Eventually(t, "it waits for its canary", func() bool {
		_, legs := w.Legs.Asked()
		return legs["warmy/"+account] > 0 && jobOf(t, w, j.ID).State == console.JobCanary
	})
	return j
}

// afterSilence waits until a job that began later, at an account where nothing hinders it, has given up.
func afterSilence(t *testing.T, w *consoletest.World, asked int) {
	t.Helper()
	other := canaryAt(t, w, "other", asked)
	if other = waitForJob(t, w, other.ID); other.State != console.JobStopped || !strings.Contains(other.Note, "no news") {
		t.Fatalf("%+v", other)
	}
}

// The canary stands behind its own campaign: 3,000 registrations take the account 50 minutes.
func TestALongLineIsNoSilence(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 3)
	registeredAt(t, w, "other", 3)
	w.Legs.Load("warmy/main", leg.Load{Waiting: 3000, PerMinute: 60})
	j := canaryAt(t, w, "main", 1)
	afterSilence(t, w, 2)
	if j = jobOf(t, w, j.ID); j.State != console.JobCanary {
		t.Errorf("its turn has not come yet: %+v", j)
	}
}

func TestALegThatIsShutIsNoSilence(t *testing.T) {
	t.Parallel()
	for name, way := range map[string]struct {
		shut, open func(t *testing.T, w *consoletest.World)
		says       string
	}{
		"held": {
			func(t *testing.T, w *consoletest.World) {
				t.Helper()
				if err := w.Legs.Hold(t.Context(), "warmy/main", "maintenance", "op"); err != nil {
					t.Fatal(err)
				}
			},
			func(t *testing.T, w *consoletest.World) {
				t.Helper()
				if err := w.Legs.Release(t.Context(), "warmy/main", "op"); err != nil {
					t.Fatal(err)
				}
			}, "warmy/main, which is held",
		},
		"asked to pause": {
			func(_ *testing.T, w *consoletest.World) {
				w.Legs.Load("warmy/main", leg.Load{PerMinute: 60, NotBefore: w.Now().Add(5 * time.Minute)})
			},
			func(_ *testing.T, w *consoletest.World) { w.Legs.Load("warmy/main", leg.Load{PerMinute: 60}) }, "no call before 12:05 UTC",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := consoletest.New(t)
			registered(t, w, 3)
			registeredAt(t, w, "other", 3)
			way.shut(t, w)
			j := canaryAt(t, w, "main", 1)
			afterSilence(t, w, 2)
			if j = jobOf(t, w, j.ID); j.State != console.JobCanary || !strings.Contains(j.Note, way.says) {
				t.Errorf("nobody could call: %+v", j)
			}
			way.open(t, w)
			if j = waitForJob(t, w, j.ID); j.State != console.JobStopped || !strings.Contains(j.Note, "no news") {
				t.Errorf("nobody calls although all may: %+v", j)
			}
		})
	}
}

func TestASlowerPaceGivesTheLineMoreTime(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 3)
	registeredAt(t, w, "other", 3)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 60})
	j := canaryAt(t, w, "main", 1)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 60. / 16})
	afterSilence(t, w, 2)
	if j = jobOf(t, w, j.ID); j.State != console.JobCanary {
		t.Errorf("the line moves at a sixteenth of its pace: %+v", j)
	}
}

// What waits on one leg takes a question for each of its consumers, of which there are many, and jobs look at each step.
func TestAJobAsksSeldomAndForItsOwnLegsAlone(t *testing.T) {
	t.Parallel()
	w := consoletest.New(t)
	registered(t, w, 10)
	w.Legs.Load("warmy/main", leg.Load{PerMinute: 1})
	lists, _ := w.Legs.Asked()
	began := time.Now()
	j := begin(t, w, `{"selection":{"apps":["main"]},"confirm":10,"rate":10000}`, 1)
	if j = waitForJob(t, w, j.ID); j.State != console.JobStopped {
		t.Fatalf("%+v", j)
	}
	most := 1 + int(time.Since(began)/(200*time.Millisecond)) // a tenth of the world's StallLimit
	again, alone := w.Legs.Asked()
	if again != lists {
		t.Errorf("all legs were listed %d times", again-lists)
	}
	for name, n := range alone {
		if !strings.HasSuffix(name, "/main") || n > most {
			t.Errorf("%s was asked for %d times, %d would do", name, n, most)
		}
	}
	if len(alone) != 3 {
		t.Errorf("asked for %v", alone)
	}
}
