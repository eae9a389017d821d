package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"kindling/internal/bus"
	"kindling/internal/config"
	"kindling/internal/leg"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
	"kindling/internal/warmy"
)

// proof is what a process proves an app with, as its files say it now.
type proof struct {
	secrets []secret.Text
	pair    config.KeyPair
}

func (p proof) equal(other proof) bool {
	return slices.EqualFunc(p.secrets, other.secrets, secret.Text.Equal) && p.pair.Equal(other.pair)
}

// readProof reads what a process in this role may know of an app: token-worker its certificate, or else its secrets;
// warmy-worker, which hands a secret on, the secrets alone.
func readProof(a config.App, role config.Role) (p proof, err error) {
	if role == config.TokenWorker && a.Certificate.Given() {
		p.pair, err = a.Certificate.Read()
		return p, err
	}
	p.secrets, err = a.ClientSecrets.Read()
	return p, err
}

// credentials turns a proof into what Microsoft's client takes.
func (p proof) credentials() (microsoft.Credentials, error) {
	c := microsoft.Credentials{Secrets: p.secrets}
	if p.pair.Leaf() == nil {
		return c, nil
	}
	var err error
	c.Certificate, err = microsoft.NewCertificate(p.pair.Leaf(), p.pair.Key())
	return c, err
}

// appRotations follow the credentials of all apps. With legs, a leg that is held because of them is probed as soon as there
// are others.
func (h Host) appRotations(client *microsoft.Client, role config.Role, proofs map[string]proof, legs *bus.Legs) []follower {
	var all []follower
	for _, a := range h.Config.Apps {
		h.expect(a, proofs[a.Name])
		if len(a.ClientSecrets.Files()) == 0 && proofs[a.Name].pair.Leaf() == nil {
			continue
		}
		name := leg.Name("microsoft", a.Name)
		all = append(all, &rotation[proof]{
			leg: name, held: proofs[a.Name], equal: proof.equal,
			read: func() (proof, error) { return readProof(a, role) },
			use: func(ctx context.Context, fresh proof) error {
				c, err := fresh.credentials()
				if err == nil {
					err = client.Replace(a.Name, c)
				}
				if err != nil {
					return err
				}
				h.expect(a, fresh)
				return h.probe(ctx, legs, name, microsoft.RefusedCredentials)
			},
		})
	}
	return all
}

// keyRotations follow the API keys of all accounts, and what their sessions can begin with.
func (h Host) keyRotations(client *warmy.Client, accounts []warmy.Account, legs *bus.Legs) []follower {
	var all []follower
	for i, a := range h.Config.Accounts {
		name := leg.Name("warmy", a.Name)
		probe := func(ctx context.Context, err error) error {
			if err != nil {
				return err
			}
			return h.probe(ctx, legs, name, warmy.RefusedCredentials)
		}
		switch {
		case a.Auth == config.AuthSession && len(a.AccessToken.Files())+len(a.Password.Files()) > 0:
			all = append(all, &rotation[login]{
				leg: name, held: login{accounts[i].AccessToken, accounts[i].Password}, equal: login.equal,
				read: func() (login, error) { return readLogin(a) },
				use: func(ctx context.Context, fresh login) error {
					return probe(ctx, client.ReplaceLogin(a.Name, fresh.token, fresh.password))
				},
			})
		case a.Auth != config.AuthSession && len(a.APIKey.Files()) > 0:
			all = append(all, &rotation[secret.Text]{
				leg: name, held: accounts[i].APIKey, read: a.APIKey.One, equal: secret.Text.Equal,
				use: func(ctx context.Context, fresh secret.Text) error {
					return probe(ctx, client.ReplaceKey(a.Name, fresh))
				},
			})
		}
	}
	return all
}

// login is what a session at Warmy can begin with, as its files say it now. The token changes at Warmy, too, and not in
// its file: only another text there is a fresh one.
type login struct{ token, password secret.Text }

func (l login) equal(other login) bool {
	return l.token.Equal(other.token) && l.password.Equal(other.password)
}

func readLogin(a config.Account) (l login, err error) {
	if l.token, err = a.AccessToken.One(); err == nil {
		l.password, err = a.Password.One()
	}
	return l, err
}

// probe makes the probe of a leg due. Without the store's answer the leg is probed when its hold is over.
func (h Host) probe(ctx context.Context, legs *bus.Legs, name string, because func(string) bool) error {
	if legs == nil {
		return nil
	}
	if err := legs.ProbeNow(ctx, name, because); err != nil && ctx.Err() == nil {
		h.Log.WarnContext(ctx, "probe_not_hastened", "leg", name, "error", err)
	}
	return nil
}

// expect makes known when an app's credentials end.
func (h Host) expect(a config.App, p proof) {
	for i, day := range a.ClientSecretExpires {
		h.Metrics.expiries.expect(a.Name, strconv.Itoa(i+1), day)
	}
	if leaf := p.pair.Leaf(); leaf != nil {
		h.Metrics.expiries.expect(a.Name, certificatePosition, leaf.NotAfter)
	}
}

// proofsOf reads what a process in this role proves each app with.
func proofsOf(cfg config.Config, role config.Role) (map[string]proof, error) {
	proofs := make(map[string]proof, len(cfg.Apps))
	for _, a := range cfg.Apps {
		p, err := readProof(a, role)
		if err != nil {
			return nil, fmt.Errorf("credentials of app %s: %w", a.Name, err)
		}
		proofs[a.Name] = p
	}
	return proofs, nil
}
