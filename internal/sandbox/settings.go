package sandbox

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"kindling/internal/app"
)

// Settings are what the sandbox's kindling.yaml says.
type Settings struct {
	Data           app.Data
	NATSURL        string // empty: embedded
	EdgeListen     string
	PublicURL      string
	ConsoleListen  string
	MetricsListen  string // empty: none
	MicrosoftURL   string
	WarmyURL       string
	CallsPerMinute int
	ReconcileAfter time.Duration
	RetryBase      time.Duration
	HoldFor        time.Duration
}

// The file is written and then read like any operator's: the sandbox has no way around the configuration's checks.
const settingsTemplate = `# Written by kindling for its sandbox: simulators instead of Microsoft and Warmy.
{{- with .NATSURL}}
nats: {url: "{{.}}"}
{{- end}}
edge:
  listen: "{{.EdgeListen}}"
  public_url: "{{.PublicURL}}"
  response_mode: query
  requests_per_second: 10000
  metrics_listen: ""
console:
  listen: "{{.ConsoleListen}}"
  operators_file: "{{.Data.OperatorsFile}}"
  metrics_listen: ""
metrics: {listen: "{{.MetricsListen}}"}
keys: {dir: "{{.Data.Keys}}"}
apps:
  - name: main
    client_id: ` + ClientID + `
    client_secret_file: "{{.Secret "client-secret"}}"
    authority: "{{.MicrosoftURL}}"
    graph_url: "{{.MicrosoftURL}}"
    allow_custom_authority: true
accounts:
  - name: main
    base_url: "{{.WarmyURL}}"
    api_key_file: "{{.Secret "api-key"}}"
    calls_per_minute: {{.CallsPerMinute}}
    allow_custom_host: true
defaults: {app: main, account: main, tariff_plan_type_id: 41, speed_mode: fast}
policy:
  reconcile_after: {{.ReconcileAfter}}
  retry_base: {{.RetryBase}}
  hold_for: {{.HoldFor}}
`

// Secret is the path of a file that holds one of the sandbox's secrets.
func (s Settings) Secret(name string) string { return filepath.Join(string(s.Data), "secrets", name) }

// File is the path of the configuration.
func (s Settings) File() string { return filepath.Join(string(s.Data), "kindling.yaml") }

// RedirectURI is where Microsoft sends the owners back to.
func (s Settings) RedirectURI() string { return s.PublicURL + "/oauth-callback/main" }

// Write writes the configuration and the secrets it names.
func (s Settings) Write() error {
	if err := os.MkdirAll(filepath.Dir(s.Secret("x")), 0o700); err != nil {
		return fmt.Errorf("make directory of secrets: %w", err)
	}
	for name, value := range map[string]string{"client-secret": ClientSecret, "api-key": APIKey} {
		if err := os.WriteFile(s.Secret(name), []byte(value+"\n"), 0o600); err != nil {
			return fmt.Errorf("write secret: %w", err)
		}
	}
	tmpl, err := template.New("settings").Parse(settingsTemplate)
	if err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	var yaml bytes.Buffer
	if err := tmpl.Execute(&yaml, s); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if err := os.WriteFile(s.File(), yaml.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}
