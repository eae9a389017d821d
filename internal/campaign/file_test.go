package campaign_test

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kindling/internal/campaign"
)

func rules() campaign.Rules {
	return campaign.Rules{
		Defaults: campaign.Defaults{App: "main", Account: "main", TariffPlanTypeID: 41, SpeedMode: "fast"},
		Apps:     []string{"main", "Second"},
		Accounts: []string{"main", "eu"},
		Plans:    map[string]campaign.Plans{"main": plans(1, 41), "eu": plans(1, 41)},
	}
}

// plans are known ones with these ids; the first is called Starter, the second Business.
func plans(ids ...int) campaign.Plans {
	known := campaign.Plans{LookedUp: time.Unix(1, 0)}
	for i, id := range ids {
		known.List = append(known.List, campaign.Plan{ID: id, Name: []string{"Starter", "Business"}[i%2]})
	}
	return known
}

// repeat serves text over and over, like a FIFO that never ends, and counts.
type repeat struct {
	head, body string
	served     int64
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.head)
	r.head = r.head[n:]
	for n < len(p) && r.head == "" {
		c := copy(p[n:], r.body)
		r.head = r.body[c:]
		n += c
	}
	r.served += int64(n)
	return n, nil
}

func failure(t *testing.T, r io.Reader, rules campaign.Rules) string {
	t.Helper()
	_, err := campaign.Survey(campaign.Read(r, rules), nil)
	if err == nil {
		return ""
	}
	if _, ok := errors.AsType[*campaign.FileError](err); !ok {
		t.Fatalf("%T is no FileError: %v", err, err)
	}
	return err.Error()
}

func TestFileIsRefusedWithItsReason(t *testing.T) {
	t.Parallel()
	const ok = "email,from_name\na@x.example,A\n"
	asCSV := " (export it as CSV in UTF-8, with commas)"
	utf8 := " (save it as CSV UTF-8)"
	empty := "file: the file is empty (give it a header and at least one row)"
	quote := ": a quoted value is not closed, or text follows its closing quote (close the quote, and double the quotes inside a quoted value)"
	bare := ": there is a quote inside an unquoted value (put the whole value in quotes and double the quotes inside it)"
	ragged := ": the row has more or fewer values than the header (quote values that contain a comma, and fill missing ones with nothing between two commas)"
	secret := ": the column holds passwords or tokens (delete it: owners give consent themselves, and secrets are never imported)"
	all := "remove it, or use one of email, from_name, app, account, tenant, tariff_plan_type_id, speed_mode, external_id"
	nul := "the file holds a NUL byte (it is not text; save it as CSV UTF-8)"
	cr := "the lines end with a bare carriage return (save it with LF or CRLF line ends)"
	tooLong := ": the row is longer than 64 KiB (close the quote it opens, or end each row with a line break)"
	for name, c := range map[string]struct{ file, want string }{
		"empty":                    {"", empty},
		"only a byte order mark":   {"\xEF\xBB\xBF", empty},
		"only line ends":           {"\n\r\n\n", empty},
		"header only":              {"email,from_name\n", "file: there is a header but no row (add at least one row)"},
		"header and blank rows":    {"email,from_name\n,\n , \n", "file: there is a header but no row (add at least one row)"},
		"no email column":          {"from_name,app\nA,main\n", "1: there is no email column (name the columns in the first row; one must be email)"},
		"no header at all":         {"a@x.example\nb@x.example\n", "1:column 1: the first row is an address, not a header (put the names of the columns in the first row; one must be email)"},
		"duplicate header":         {"email,email\n", "1:column 2: the column email stands there twice (remove one of the two)"},
		"header spelt otherwise":   {"email,from_name,E-Mail\n", "1:column 3: the column is unknown (did you mean email?)"},
		"duplicate header by case": {"email,from_name,From Name\n", "1:column 3: the column from_name stands there twice (remove one of the two)"},
		"unnamed header":           {"email,from_name,\n", "1:column 3: the column has no name (name it, or remove it and the commas that make it)"},
		"misspelt header":          {"emial,from_name\n", "1:column 1: the column is unknown (did you mean email?)"},
		"misspelt long header":     {"email,tarif_plan_type_ids\n", "1:column 2: the column is unknown (did you mean tariff_plan_type_id?)"},
		"synonym in the header":    {"email,name\n", "1:column 2: the column is unknown (did you mean from_name?)"},
		"unknown header":           {"email,favourite colour\n", "1:column 2: the column is unknown (" + all + ")"},
		"very long header":         {"email," + strings.Repeat("x", 9000) + "\n", "1:column 2: the column is unknown (" + all + ")"},
		"group id column":          {"email,group_id\n", "1:column 2: the column is unknown (" + all + ")"},

		"UTF-16 little endian with mark":   {"\xFF\xFEe\x00m\x00", "file: the file is in UTF-16" + utf8},
		"UTF-16 big endian with mark":      {"\xFE\xFF\x00e\x00m", "file: the file is in UTF-16" + utf8},
		"UTF-16 little endian, no mark":    {"e\x00m\x00a\x00i\x00l\x00", "file: the file is in UTF-16" + utf8},
		"UTF-16 big endian, no mark":       {"\x00e\x00m\x00a\x00i\x00l", "file: the file is in UTF-16" + utf8},
		"UTF-32 little endian with mark":   {"\xFF\xFE\x00\x00e\x00\x00\x00", "file: the file is in UTF-32" + utf8},
		"UTF-32 big endian with mark":      {"\x00\x00\xFE\xFF\x00\x00\x00e", "file: the file is in UTF-32" + utf8},
		"UTF-32 without mark":              {"e\x00\x00\x00m\x00\x00\x00", "file: the file is in UTF-32" + utf8},
		"gzip":                             {"\x1F\x8B\x08\x00\x00\x00\x00\x00", "file: this is a gzip archive, not a CSV" + asCSV},
		"zstd":                             {"\x28\xB5\x2F\xFD\x00", "file: this is a zstd archive, not a CSV" + asCSV},
		"xz":                               {"\xFD7zXZ\x00", "file: this is an xz archive, not a CSV" + asCSV},
		"bzip2":                            {"BZh91AY", "file: this is a bzip2 archive, not a CSV" + asCSV},
		"xlsx":                             {"PK\x03\x04\x14\x00\x06\x00", "file: this is an Excel workbook or a zip archive, not a CSV" + asCSV},
		"empty zip":                        {"PK\x05\x06\x00\x00", "file: this is an empty zip archive, not a CSV" + asCSV},
		"xls":                              {"\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "file: this is an old Excel workbook, not a CSV" + asCSV},
		"HTML":                             {"\n<!DOCTYPE html><html>", "file: this is an HTML or XML page, not a CSV" + asCSV},
		"HTML behind a byte order mark":    {"\xEF\xBB\xBF<html>", "file: this is an HTML or XML page, not a CSV" + asCSV},
		"PDF":                              {"%PDF-1.7\n", "file: this is a PDF document, not a CSV" + asCSV},
		"JSON object":                      {`{"email":"a@x.example"}`, "file: this is a JSON document, not a CSV" + asCSV},
		"JSON array":                       {`[{"email":"a@x.example"}]`, "file: this is a JSON document, not a CSV" + asCSV},
		"NUL at the start":                 {"email\x00\n", "file: " + nul},
		"NUL far inside":                   {ok + strings.Repeat("a@x.example,A\n", 90) + "b@x.example,B\x00\n", "93:from_name: " + nul},
		"invalid UTF-8":                    {"email,from_name\na@x.example,M\xFCller\n", "2:from_name: the text is not valid UTF-8" + utf8},
		"invalid UTF-8 in the header":      {"email,na\xFFme\n", "1: the text is not valid UTF-8" + utf8},
		"semicolons":                       {"email;from_name\na@x.example;A\n", "1:column 1: the values are separated by semicolons (export it with commas)"},
		"tabs":                             {"email\tfrom_name\na@x.example\tA\n", "1:column 1: the values are separated by tabs (export it with commas)"},
		"bars":                             {"email|from_name\na@x.example|A\n", "1:column 1: the values are separated by bars (export it with commas)"},
		"sep line":                         {"sep=;\nemail;from_name\n", "file: the first line is a sep= line (remove that line and separate with commas)"},
		"sep line with comma":              {"SEP=,\nemail,from_name\n", "file: the first line is a sep= line (remove that line and separate with commas)"},
		"bare carriage returns":            {"email,from_name\ra@x.example,A\r", "1:column 2: " + cr},
		"bare carriage returns, cut off":   {"email,from_name\ra@x.example,A", "file: " + cr},
		"unclosed quote":                   {ok + "b@x.example,\"B\nc@x.example,C\nd@x.example,D\n", "3" + quote},
		"unclosed quote in a large file":   {ok + "b@x.example,\"B\n" + strings.Repeat("c@x.example,C\n", 9000), "3" + tooLong},
		"text behind the quote":            {ok + "b@x.example,\"B\"B\n", "3" + quote},
		"bare quote":                       {ok + "b@x.example,B\"B\n", "3" + bare},
		"bare quote in the header":         {"em\"ail\n", "1" + bare},
		"row with too few values":          {ok + "b@x.example\n", "3" + ragged},
		"row with too many values":         {ok + "b@x.example,B,C\n", "3" + ragged},
		"ragged row behind a long one":     {"email,from_name\n\"a@x.example\n\n\",A\nb@x.example\n", "5" + ragged},
		"password column":                  {"email,Password\n", "1:column 2" + secret},
		"app password column":              {"email,smtp_password\n", "1:column 2" + secret},
		"refresh token column":             {"email,refresh_token\n", "1:column 2" + secret},
		"client secret column":             {"email,Client Secret\n", "1:column 2" + secret},
		"bought accounts with their token": {"a@x.example----hunter2----9e5f94bc----M.C5\n", "1:column 1" + secret},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := failure(t, strings.NewReader(c.file), rules()); got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
		})
	}
}

func TestEndlessInputIsRefusedAfterBoundedReading(t *testing.T) {
	t.Parallel()
	tooLong := ": the row is longer than 64 KiB (close the quote it opens, or end each row with a line break)"
	for name, c := range map[string]struct {
		in   repeat
		most int64
		want string
	}{
		"zeros":             {repeat{"", "\x00", 0}, 8 << 10, "file: the file holds a NUL byte (it is not text; save it as CSV UTF-8)"},
		"line without end":  {repeat{"", "x", 0}, 80 << 10, "1" + tooLong},
		"row without end":   {repeat{"email,from_name\n", "x", 0}, 80 << 10, "2" + tooLong},
		"quote without end": {repeat{"email,from_name\n", "\"\n\"\",", 0}, 80 << 10, ""},
		"blank lines":       {repeat{"email,from_name\n", "\n", 0}, 80 << 10, "2" + tooLong},
		"blank rows":        {repeat{"email,from_name\n", strings.Repeat(" ", 8000) + ",\n", 0}, campaign.MaxBytes + 8192, "file: the file is larger than 50 MiB (split it into several campaigns)"},
		"rows":              {repeat{"email\n", "a@x.example\n", 0}, 4 << 20, "200002: the file has more than 200,000 rows (split it into several campaigns)"},
		"wide rows": {
			repeat{"email,from_name\n", "a@x.example," + strings.Repeat("x", 4000) + "\n", 0},
			campaign.MaxBytes + 8192,
			"file: the file is larger than 50 MiB (split it into several campaigns)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := c.in
			got := failure(t, &in, rules())
			if got == "" || c.want != "" && got != c.want {
				t.Errorf("\n got %s\nwant %s", got, c.want)
			}
			if in.served > c.most {
				t.Errorf("%d bytes were read, want at most %d", in.served, c.most)
			}
		})
	}
}

func TestTheLastAllowedRowIsStillRead(t *testing.T) {
	t.Parallel()
	in := io.LimitReader(&repeat{"email\n", "a@x.example\n", 0}, int64(6+12*campaign.MaxRows))
	s, err := campaign.Survey(campaign.Read(in, rules()), nil)
	if err != nil || s.Rows != campaign.MaxRows {
		t.Errorf("%d rows, %v", s.Rows, err)
	}
}

type brokenReader struct{ err error }

func (b brokenReader) Read([]byte) (int, error) { return 0, b.err }

func TestUnreadableFileKeepsItsCauseOutOfTheText(t *testing.T) {
	t.Parallel()
	cause := errors.New("secret detail of the disk")
	for name, in := range map[string]io.Reader{
		"at once": brokenReader{cause},
		"later":   io.MultiReader(strings.NewReader("email\n"+strings.Repeat("a@x.example\n", 2000)), brokenReader{cause}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := campaign.Survey(campaign.Read(in, rules()), nil)
			const want = "file: the file cannot be read to its end (check that it exists and may be read, then import it again)"
			if err == nil || err.Error() != want || !errors.Is(err, cause) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestDirectoryIsNamedAsSuch(t *testing.T) {
	t.Parallel()
	dir, err := os.Open(filepath.Clean(t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	if got, want := failure(t, dir, rules()), "file: this is a directory (name the CSV file inside it)"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestChecksumIsComparedAtTheEnd(t *testing.T) {
	t.Parallel()
	const file = "email\na@x.example\n"
	s, err := campaign.Survey(campaign.Read(strings.NewReader(file), rules()), nil)
	if err != nil {
		t.Fatal(err)
	}
	r := rules()
	r.SHA256 = strings.ToUpper(s.SHA256)
	if got := failure(t, strings.NewReader(file), r); got != "" {
		t.Errorf("the right sum was refused: %s", got)
	}
	const want = "file: the file's checksum is not the expected one (it was changed or cut on its way; fetch it again)"
	if got := failure(t, strings.NewReader(file+"b@x.example\n"), r); got != want {
		t.Errorf("got %q", got)
	}
}

func TestFileErrorStays(t *testing.T) {
	t.Parallel()
	r := campaign.Read(strings.NewReader("email\na@x.example\n\"\n"), rules())
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	_, first := r.Next()
	_, second := r.Next()
	if first == nil || !errors.Is(second, first) {
		t.Errorf("got %v, then %v", first, second)
	}
	if header, err := r.Header(); err != nil || len(header) != 1 {
		t.Errorf("the header that was read is lost: %v, %v", header, err)
	}
}
