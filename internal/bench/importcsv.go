package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"kindling/internal/app"
	"kindling/internal/campaign/sample"
	"kindling/internal/console"
	"kindling/internal/service"
)

// importCSV measures a campaign's import through the console's API into a store that syncs always, and the heap that
// the import itself holds at its highest.
func (o options) importCSV(ctx context.Context) (figures []figure, err error) {
	p, err := newRig(ctx, &simulator{}, false)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	if p.host.Config.Console.Listen, err = unusedAddress(ctx); err != nil {
		return nil, err
	}
	var csv bytes.Buffer
	if err := sample.Write(&csv, o.rows); err != nil {
		return nil, err
	}
	running, stop := context.WithCancel(ctx)
	group, running := errgroup.WithContext(running)
	group.Go(func() error { return app.Console(running, p.host) })
	group.Go(func() error {
		defer stop()
		figures, err = o.post(running, p.host, csv.Bytes())
		return err
	})
	err = group.Wait()
	return figures, err
}

func (o options) post(ctx context.Context, h app.Host, csv []byte) ([]figure, error) {
	token, err := os.ReadFile(strings.TrimSuffix(h.Config.Console.OperatorsFile, "operators.json") + "operator.token")
	if err != nil {
		return nil, fmt.Errorf("read token: %w", err)
	}
	client := &http.Client{Timeout: 5 * time.Minute}
	ask := func(method, path, contentType string, body []byte, out any) error {
		header := http.Header{"Authorization": {"Bearer " + strings.TrimSpace(string(token))}, "Content-Type": {contentType}}
		return question{method, "http://" + h.Config.Console.Listen + "/api/v1" + path, header, body}.ask(ctx, client, out)
	}
	if err := service.Poll(ctx, func() error { return ask(http.MethodGet, "/status", "", nil, nil) }); err != nil {
		return nil, err
	}
	runtime.GC()
	before := heap()
	peak := watchHeap(ctx)
	began := time.Now()
	var report console.ImportReport
	if err := ask(http.MethodPost, "/campaigns?name=bench", "text/csv", csv, &report); err != nil {
		return nil, err
	}
	took := time.Since(began)
	if report.Invited != o.rows {
		return nil, fmt.Errorf("%d of %d rows were invited", report.Invited, o.rows)
	}
	highest := peak()
	runtime.GC()
	seconds := took.Seconds()
	return []figure{
		atMost(figure{
			name: fmt.Sprintf("import of %d rows, sync always, seconds for 100,000", o.rows), value: fmt.Sprintf("%.1f s, %.0f rows/s", seconds, float64(o.rows)/seconds),
			against: "–",
		}, seconds*100_000/float64(o.rows), 60, "%.0f s"),
		{
			name: "heap while importing", value: fmt.Sprintf("highest %d MiB, before %d MiB, after %d MiB", highest>>20, before>>20, heap()>>20),
			against: "console and NATS server in one process, all mailboxes indexed", aim: "flat", met: "–",
		},
	}, nil
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// watchHeap samples the heap until the returned function asks for the highest value.
func watchHeap(ctx context.Context) func() uint64 {
	var highest atomic.Uint64
	ctx, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(250 * time.Millisecond)
		defer tick.Stop()
		for {
			highest.Store(max(highest.Load(), heap()))
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() uint64 { stop(); <-done; return highest.Load() }
}
