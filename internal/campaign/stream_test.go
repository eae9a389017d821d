package campaign_test

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"unicode/utf8"

	"kindling/internal/campaign"
)

// generator makes n rows as they are read, so that a test measures the reader
// and not its input.
type generator struct {
	n, next int
	pending []byte
}

func (g *generator) Read(p []byte) (int, error) {
	if g.next == 0 {
		g.pending, g.next = []byte("email,from_name,external_id,speed_mode\n"), 1
	}
	for len(g.pending) < len(p) && g.next <= g.n {
		g.pending = fmt.Appendf(g.pending, "Given.Surname%d@company-%d.example,\"Surname%d, Given\",crm-%d,fast\r\n", g.next, g.next%12, g.next, g.next)
		g.next++
	}
	if len(g.pending) == 0 {
		return 0, io.EOF
	}
	n := copy(p, g.pending)
	g.pending = append(g.pending[:0], g.pending[n:]...)
	return n, nil
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Not parallel: it measures the heap of the process.
//
//nolint:paralleltest // see above
func TestTwoHundredThousandRowsStayWithinAFewMegabytes(t *testing.T) {
	before := heap()
	r := campaign.Read(&generator{n: campaign.MaxRows}, rules())
	n, peak := 0, uint64(0)
	for {
		row, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || !row.Usable() {
			t.Fatal(row, err)
		}
		if n++; n%50_000 == 0 {
			peak = max(peak, heap())
		}
	}
	grown := int64(peak) - int64(before)
	t.Logf("%d rows, heap grew by %d KiB", n, grown>>10)
	if n != campaign.MaxRows || grown > 24<<20 {
		t.Errorf("%d rows, heap grew by %d KiB, want at most 24 MiB", n, grown>>10)
	}
	runtime.KeepAlive(r)
}

func BenchmarkRead(b *testing.B) {
	b.ReportAllocs()
	const n = 100_000
	for b.Loop() {
		s, err := campaign.Survey(campaign.Read(&generator{n: n}, rules()), nil)
		if err != nil || s.Usable != n {
			b.Fatal(s, err)
		}
	}
	b.ReportMetric(float64(n)*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}

func FuzzRead(f *testing.F) {
	for _, seed := range []string{
		"", "email\n", "email,from_name\r\na@x.example,\"A \"\"B\"\"\"\r\n", "\xEF\xBB\xBFemail\na@x.example\nA@x.example\n",
		"email;app\n", "sep=;\n", "email,app\na@x.example\n", "email\n\"", "PK\x03\x04", "\xFF\xFEe\x00", "email\n=1@x.example\n",
		"email,tariff_plan_type_id\nb@x.example,4.5\n", "email,tenant\na@x.example,8eaef023-2b34-4da1-9baa-8bc8c9d6a490\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, file string) {
		r := campaign.Read(strings.NewReader(file), rules())
		line := 1
		for range campaign.MaxRows + 1 {
			row, err := r.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				checkFileError(t, err)
				return
			}
			if row.Line <= line {
				t.Fatalf("line %d follows %d", row.Line, line)
			}
			line = row.Line
			checkRow(t, row)
		}
		t.Fatal("the reading does not end")
	})
}

func checkFileError(t *testing.T, err error) {
	t.Helper()
	fe, ok := errors.AsType[*campaign.FileError](err)
	if !ok || fe.Problem.Code == "" || fe.Problem.Reason == "" || fe.Problem.Remedy == "" {
		t.Fatalf("%T %v", err, err)
	}
}

// checkRow asserts what the rest of the program relies on in a usable row.
func checkRow(t *testing.T, row campaign.Row) {
	t.Helper()
	if !row.Usable() {
		return
	}
	again, p := campaign.Address(row.Email)
	local, domain, _ := strings.Cut(row.Email, "@")
	switch {
	case again != row.Email || p != nil:
		t.Fatalf("%q is not stable: %q, %v", row.Email, again, p)
	case len(row.Email) > 254 || len(local) > 64 || !strings.Contains(domain, ".") || strings.ContainsAny(row.Email, " \r\n\t<>\"(),;:[]\\%!"):
		t.Fatalf("%q was accepted", row.Email)
	case row.App != "main" && row.App != "Second", row.Account != "main" && row.Account != "eu":
		t.Fatalf("app %q, account %q", row.App, row.Account)
	case row.TariffPlanTypeID != 1 && row.TariffPlanTypeID != 41:
		t.Fatalf("tariff %d", row.TariffPlanTypeID)
	case !utf8.ValidString(row.FromName) || strings.ContainsAny(row.FromName, "\r\n\x00\x1b\u202e"):
		t.Fatalf("from_name %q", row.FromName)
	}
}

func FuzzCell(f *testing.F) {
	for _, seed := range []string{"", "=1", " =1", "\t1", "\u202e", "\xff", "＝", strings.Repeat("x", 2000)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, value string) {
		cell := campaign.Cell(value)
		if cell != "" && strings.ContainsAny(cell[:1], "=+-@\t\r\n") {
			t.Fatalf("%q became %q", value, cell)
		}
		if !utf8.ValidString(cell) || strings.ContainsAny(cell, "\r\n\t\x00\x1b\u202e") || utf8.RuneCountInString(cell) > 1024 {
			t.Fatalf("%q became %q", value, cell)
		}
	})
}
