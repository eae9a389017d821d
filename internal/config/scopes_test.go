package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"kindling/internal/config"
)

// Every spelling of Microsoft Graph is one resource, and the scopes of OpenID Connect belong to none.
func TestScopesOfOneResourceAreTakenWhateverTheirSpelling(t *testing.T) {
	t.Parallel()
	for _, scopes := range []string{
		"openid, profile, offline_access, User.Read, Mail.Send, Mail.ReadWrite",
		"openid, profile, offline_access, User.Read, \"https://graph.microsoft.com/Mail.Send\", \"HTTPS://Graph.Microsoft.com//mail.readwrite\"",
		"openid, profile, \"https://graph.microsoft.com/offline_access\", \"00000003-0000-0000-c000-000000000000/Mail.Send\", User.Read, mail.read",
		"OpenID, PROFILE, \"https://outlook.office.com/offline_access\", USER.READ, MAIL.SEND, Mail.Read",
		"openid, profile, offline_access, User.Read, Mail.Send, \"https://sim.example/Mail.Read\"",
	} {
		in := "edge: {public_url: \"https://c.example\"}\napps: [{name: main, client_id: " + clientID + ", scopes: [" + scopes + "]"
		if strings.Contains(scopes, "sim.example") {
			in += ", allow_custom_authority: true, graph_url: \"https://sim.example/\""
		}
		cfg, err := load(t, in+"}]\n", nil)
		if err != nil {
			t.Errorf("%s: %v", scopes, err)
			continue
		}
		for _, w := range cfg.Warnings(config.Edge) {
			if strings.Contains(w.Key, "scopes") {
				t.Errorf("%s: %s", scopes, w)
			}
		}
	}
}

func TestScopesThatMakeIncompleteGrantsAreWarnedOf(t *testing.T) {
	t.Parallel()
	const lacks = "lacks one of User.Read, Mail.Send and Mail.Read (or Mail.ReadWrite), without which no grant gets to Warmy"
	for scopes, want := range map[string]string{
		"\"https://graph.microsoft.com/.default\"": "asks for .default: whoever consented to anything of this app before is not asked, and grants only what he granted then",
		"User.Read, Mail.Send":                     lacks,
		"User.Read, Mail.ReadWrite":                lacks,
		"Mail.Send, Mail.ReadWrite":                lacks,
		"User.Read, Mail.Send, Mail.Read":          "",
	} {
		cfg := complete(t)
		loaded, err := load(t, "apps: [{name: main, client_id: "+clientID+", scopes: [openid, profile, offline_access, "+scopes+"]}]\n", nil)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Apps[0].Scopes = loaded.Apps[0].Scopes
		got := ""
		for _, w := range cfg.Warnings(config.Edge) {
			got += w.Reason
		}
		if got != want {
			t.Errorf("%s: %q, want %q", scopes, got, want)
		}
		if w := cfg.Warnings(config.WarmyWorker); len(w) > 0 {
			t.Errorf("%s: a process that asks nobody warns: %v", scopes, w)
		}
	}
}

// The guide's "prompt=consent issue" and "repeated consent prompts".
func TestAskingEverybodyAgainIsWarnedOfAtTheEdgeAlone(t *testing.T) {
	t.Parallel()
	for prompt, want := range map[string]string{
		"select_account": "", "login": "",
		"consent": "edge.start_prompt = \"consent\": means repeated consent prompts: everybody is asked to approve again, and non-admins meet the approval wall " +
			"that their admin has opened (leave it out; set it only while permissions have to be asked for anew, and rely on Grant admin consent in the Azure portal)",
	} {
		cfg := complete(t)
		cfg.Edge.StartPrompt = prompt
		for role, expected := range map[config.Role]string{config.Edge: want, config.Up: want, config.TokenWorker: ""} {
			var got []string
			for _, w := range cfg.Warnings(role) {
				got = append(got, w.String())
			}
			if diff := cmp.Diff(expected, strings.Join(got, "\n")); diff != "" {
				t.Errorf("%s: %s", prompt, diff)
			}
		}
		if err := cfg.Require(config.Up); err != nil {
			t.Error(fmt.Errorf("%s keeps the process from starting: %w", prompt, err))
		}
	}
}
