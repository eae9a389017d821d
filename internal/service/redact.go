package service

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
)

const hidden = "***"

// Redact wraps a handler so that no secret passes it. It is the second line of defence:
// the first is that secrets are secret.Text, which cannot be printed.
//
// Values whose key names a secret (token, secret, password, code, cookie, authorization, …)
// become "***" unless they are numbers, times, booleans or plain words. In all other texts and errors the
// query of every URL, every bearer credential and every JWT become "***".
func Redact(h slog.Handler) slog.Handler { return redactor{next: h} }

type redactor struct{ next slog.Handler }

func (r redactor) Enabled(ctx context.Context, l slog.Level) bool { return r.next.Enabled(ctx, l) }

func (r redactor) Handle(ctx context.Context, rec slog.Record) error {
	clean := slog.NewRecord(rec.Time, rec.Level, scrub(rec.Message), rec.PC)
	rec.Attrs(func(a slog.Attr) bool {
		clean.AddAttrs(redactAttr(a))
		return true
	})
	return r.next.Handle(ctx, clean)
}

func (r redactor) WithAttrs(attrs []slog.Attr) slog.Handler {
	return redactor{next: r.next.WithAttrs(redactAll(attrs))}
}

func (r redactor) WithGroup(name string) slog.Handler {
	return redactor{next: r.next.WithGroup(name)}
}

func redactAll(attrs []slog.Attr) []slog.Attr {
	clean := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		clean[i] = redactAttr(a)
	}
	return clean
}

func redactAttr(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		return slog.Attr{Key: a.Key, Value: slog.GroupValue(redactAll(v.Group())...)}
	case slog.KindString:
		if namesSecret(a.Key) && v.String() != "" && !ownWord.MatchString(v.String()) {
			return slog.String(a.Key, hidden)
		}
		return slog.String(a.Key, scrub(v.String()))
	case slog.KindAny:
		return redactAny(a.Key, v.Any())
	case slog.KindBool, slog.KindDuration, slog.KindFloat64, slog.KindInt64, slog.KindTime, slog.KindUint64, slog.KindLogValuer:
		return slog.Attr{Key: a.Key, Value: v}
	default:
		return slog.String(a.Key, hidden)
	}
}

func redactAny(key string, value any) slog.Attr {
	if namesSecret(key) {
		return slog.String(key, hidden)
	}
	switch v := value.(type) {
	case error:
		return slog.String(key, scrub(v.Error()))
	case []string:
		clean := make([]string, len(v))
		for i, text := range v {
			clean[i] = scrub(text)
		}
		return slog.Any(key, clean)
	case *url.URL:
		return slog.String(key, scrub(v.Redacted()))
	case http.Header, http.Cookie, *http.Cookie, []*http.Cookie, *http.Request, *http.Response, url.Values, []byte:
		return slog.String(key, hidden)
	default:
		return slog.Any(key, value)
	}
}

// ownWord is a word of ours, such as not_found or needs_consent, or a number of Microsoft's errors. Such values are what
// an operator looks for under "code" and "state"; no code, state or token of OAuth is made of small letters alone.
var ownWord = regexp.MustCompile(`^([a-z]+(_[a-z]+){0,5}|AADSTS[0-9]+)$`)

// namesSecret reports whether a value under key may be a secret. Keys that only end in
// "code", such as status_code, are what an operator needs and stay.
func namesSecret(key string) bool {
	k := strings.ReplaceAll(strings.ToLower(key), "-", "_")
	switch k {
	case "code", "state", "nonce", "query", "form", "body", "link":
		return true
	}
	for _, part := range []string{"token", "secret", "password", "passwd", "api_key", "apikey", "authorization", "cookie", "verifier", "assertion", "credential"} {
		if strings.Contains(k, part) && k != part+"_file" {
			return true
		}
	}
	return false
}

// secrets in running text, each with what replaces it
var (
	urlQuery   = regexp.MustCompile(`([a-z][a-z0-9+.-]*://[^\s?#"'<>]*)[?#][^\s"'<>]*`)
	urlUser    = regexp.MustCompile(`([a-z][a-z0-9+.-]*://)[^\s/?#@"'<>]+@`)
	bearer     = regexp.MustCompile(`(?i)\b(bearer|basic) [A-Za-z0-9._~+/=-]{8,}`)
	jwt        = regexp.MustCompile(`\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?`)
	parameters = regexp.MustCompile(`(?i)\b(code|state|access_token|refresh_token|id_token|client_secret|code_verifier|password|api_key)=[^\s&"'<>]+`)
)

// scrub removes what looks like a secret from running text. Texts without any of the marks
// pass untouched, and cost one scan.
func scrub(text string) string {
	if !strings.ContainsAny(text, ":=") && !strings.Contains(text, "eyJ") && !strings.ContainsAny(text, "Bb") {
		return text
	}
	text = urlUser.ReplaceAllString(text, "${1}"+hidden+"@")
	text = urlQuery.ReplaceAllString(text, "${1}?"+hidden)
	text = parameters.ReplaceAllString(text, "${1}="+hidden)
	text = bearer.ReplaceAllString(text, "${1} "+hidden)
	return jwt.ReplaceAllString(text, hidden)
}
