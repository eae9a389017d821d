package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"kindling/internal/secret"
)

const canary = "canary-7f3a"

type nested struct {
	Name  string                      `json:"name"`
	Inner struct{ Token secret.Text } `json:"inner"`
	list  []secret.Text
}

func TestNoPrintedFormShowsTheSecret(t *testing.T) {
	t.Parallel()
	text := secret.New(canary)
	value := nested{Name: "x", list: []secret.Text{text}}
	value.Inner.Token = text

	var printed bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&printed, verb+verb+verb+verb+"\n", text, &text, value, &value)
	}
	logger := slog.New(slog.NewJSONHandler(&printed, nil))
	logger.Info("direct", "token", text, "nested", value, "error", fmt.Errorf("wrapped: %v %w", value, errors.New("x")))
	slog.New(slog.NewTextHandler(&printed, nil)).Info("text", "token", text, "nested", value)
	if err := json.NewEncoder(&printed).Encode(value); err != nil { //nolint:musttag // the tags are there; the masked type has none
		t.Fatal(err)
	}
	if err := xml.NewEncoder(&printed).Encode(value.Inner.Token); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(printed.String(), canary) || strings.Contains(printed.String(), fmt.Sprintf("%x", canary)) {
		t.Errorf("a printed form shows the secret:\n%s", printed.String())
	}
}

func TestRevealGivesBackWhatWasHidden(t *testing.T) {
	t.Parallel()
	if got := secret.New(canary).Reveal(); got != canary {
		t.Errorf("Reveal() = %q", got)
	}
	if !secret.New("").Empty() || secret.New(canary).Empty() {
		t.Error("Empty() is wrong")
	}
	if !secret.New(canary).Equal(secret.New(canary)) || secret.New(canary).Equal(secret.Text{}) {
		t.Error("Equal() is wrong")
	}
}
