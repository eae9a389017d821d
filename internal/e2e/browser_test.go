//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/audits"
	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

// step is one thing that somebody does in a browser, or waits to see.
type step = chromedp.Action[chromedp.Void]

// chromium is a running browser.
type chromium struct {
	open func(...chromedp.ContextOption) (context.Context, context.CancelFunc) // a tab
}

func startChromium(t *testing.T) chromium {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			path = found
			break
		}
	}
	if path == "" {
		missing(t, "Chromium")
	}
	options := append(slices.Clone(chromedp.DefaultExecAllocatorOptions[:]), chromedp.ExecPath(path))
	if os.Geteuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium refuses to be root in its own sandbox
	}
	ctx, stop := chromedp.NewExecAllocator(context.WithoutCancel(t.Context()), options...)
	t.Cleanup(stop)
	ctx, abandon := chromedp.NewContext(ctx)
	t.Cleanup(abandon)
	t.Cleanup(func() { // waits until the browser and its files are gone
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("close the browser: %v", err)
		}
	})
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start %s: %v", path, err)
	}
	return chromium{func(options ...chromedp.ContextOption) (context.Context, context.CancelFunc) {
		return chromedp.NewContext(ctx, options...)
	}}
}

// tab is one person's browser, with cookies of its own. It remembers whatever the browser complained about.
type tab struct {
	within  func(time.Duration) (context.Context, context.CancelFunc)
	foreign string // base address of the simulated Microsoft, whose pages are not ours to judge

	mu         sync.Mutex
	complaints []string
}

// openTab opens a tab that notes errors and warnings of the console, exceptions, and every issue that the browser
// reports, violations of a page's Content-Security-Policy among them.
func (c chromium) openTab(t *testing.T, foreign string) *tab {
	t.Helper()
	b := &tab{foreign: foreign}
	ctx, closeTab := c.open(chromedp.WithNewBrowserContext(), chromedp.WithListener(b.hear))
	t.Cleanup(closeTab)
	if err := chromedp.Do(ctx); err != nil { // the first call binds the tab's life to its context: no time-out here
		t.Fatalf("open a tab: %v", err)
	}
	b.within = func(d time.Duration) (context.Context, context.CancelFunc) { return context.WithTimeout(ctx, d) }
	b.do(t, "open", call(audits.Enable, cdp.Empty{}))
	return b
}

// call is a step that gives the browser one command.
func call[P any](command cdp.Command[P, cdp.Empty], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, command, params)
		return err
	})
}

// withoutScripts makes the tab one of a browser that runs no JavaScript.
func withoutScripts() step {
	return call(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
}

// phone gives the tab the size and the touch screen of a phone.
func phone() step {
	return chromedp.EmulateViewport(phoneWidth, 844, chromedp.EmulateMobile, chromedp.EmulateTouch, chromedp.EmulatePortrait)
}

const phoneWidth = 390

func (b *tab) hear(event any) {
	switch e := event.(type) {
	case *cdplog.EventEntryAdded:
		bad := e.Entry.Level == cdplog.EntryLevelError || e.Entry.Level == cdplog.EntryLevelWarning
		if bad && (b.foreign == "" || !strings.HasPrefix(e.Entry.URL, b.foreign)) {
			b.complain("%s: %s (%s)", e.Entry.Source, e.Entry.Text, e.Entry.URL)
		}
	case *runtime.EventExceptionThrown:
		b.complain("exception: %s %s", e.ExceptionDetails.Text, e.ExceptionDetails.URL)
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			b.complain("console.%s", e.Type)
		}
	case *audits.EventIssueAdded:
		if e.Issue.Code != audits.InspectorIssueCodeGenericIssue { // advice about autofill
			b.complain("issue: %s", e.Issue.Code)
		}
	}
}

func (b *tab) complain(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.complaints = append(b.complaints, fmt.Sprintf(format, args...))
}

func (b *tab) heard() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.complaints, "\n")
}

// do takes steps, and fails with what the browser shows when they take more than half a minute.
func (b *tab) do(t *testing.T, what string, steps ...step) {
	t.Helper()
	ask(t, b, what, chromedp.Steps(steps...))
}

// ask is do with an answer.
func ask[T any](t *testing.T, b *tab, what string, question chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := b.within(30 * time.Second)
	defer cancel()
	answer, err := chromedp.Run(ctx, question)
	if err != nil {
		t.Fatalf("%s: %v\nthe page:\n%s\ncomplaints:\n%s", what, err, tail(b.html()), b.heard())
	}
	return answer
}

func (b *tab) html() string {
	ctx, cancel := b.within(5 * time.Second)
	defer cancel()
	html, err := chromedp.Run(ctx, chromedp.OuterHTML("html"))
	if err != nil {
		return err.Error()
	}
	return html
}

// text is what a reader sees of an element.
func (b *tab) text(t *testing.T, selector string) string {
	t.Helper()
	return strings.TrimSpace(ask(t, b, "read "+selector, chromedp.Text(selector)))
}

// quiet fails when the browser complained about anything.
func (b *tab) quiet(t *testing.T) {
	t.Helper()
	if heard := b.heard(); heard != "" {
		t.Errorf("the browser complained:\n%s", heard)
	}
}
