package config_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

const exampleFile = "../../deployments/kindling.example.yaml"

func TestTheExampleFileLoads(t *testing.T) {
	t.Parallel()
	cfg, err := config.Load(config.Source{File: exampleFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range cfg.Show(true) {
		t.Log(e)
	}
	err = cfg.Require(config.Edge)
	if err == nil || !strings.Contains(err.Error(), "apps.main.client_id: is still the example's") {
		t.Errorf("Require(Edge) = %v, want the example's client_id refused", err)
	}
}

// What the example shows as a default must be the default, and every key must be shown.
func TestTheExampleFileShowsEveryKeyAndTheRealDefaults(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := config.Load(config.Source{File: exampleFile})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range plain.Show(true) {
		key := e.Key[strings.LastIndex(e.Key, ".")+1:]
		secret := key == "client_secret" || key == "api_key" || key == "access_token" || key == "password" || key == "webhook_secret"
		if !secret && !regexp.MustCompile(`(?m)^\s*(# |- )?`+key+`:`).Match(text) {
			t.Errorf("%s is not in the example", e.Key)
		}
	}

	shown := regexp.MustCompile(`(?m)^(\s*)# ((?:listen|replicas|metrics_listen|link_life|start_prompt|requests_per_second|cloud|tenant|redirect_uri|scopes|base_url|auth|holder_uid|calls_per_minute: 55|speed_mode|reconcile_after|refresh_margin|retry_base|retry_cap|max_attempts|hold_for|refresh|keepalive_after|refreshes_per_minute)\b)`)
	opened, err := load(t, shown.ReplaceAllString(string(text), "$1$2"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(plain.Show(false), opened.Show(false)); diff != "" {
		t.Errorf("a default in the example is not the default (-in effect +shown):\n%s", diff)
	}
}
