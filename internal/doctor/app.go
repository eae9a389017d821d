package doctor

import (
	"context"
	"fmt"
	"strings"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/fault"
	"kindling/internal/microsoft"
	"kindling/internal/secret"
)

// registration is one app under examination.
type registration struct {
	report

	name   string
	app    microsoft.App
	prober microsoft.Prober
	clocks *clocks
}

// app asks Microsoft about one app registration. The tenant comes first, because that question holds no secret: who
// turns out not to be Microsoft is told none.
func (d Doctor) app(ctx context.Context, a config.App, c *clocks) []Finding {
	x := &registration{report: report{area: areaApp}, name: a.Name, clocks: c, prober: microsoft.Prober{Transport: d.Transport, Timeout: askLimit, Now: d.Now}}
	var err error
	if x.app, err = app.MicrosoftApp(a); err != nil {
		x.wrong(a.Name, err.Error(), "")
		return x.list
	}
	x.redirect(d, a)
	if a.Issuer == "" {
		x.advise(a)
	}
	switch {
	case a.ClientID == "":
		x.skip(a.Name, "client_id is not set, so Microsoft cannot be asked")
	case a.Issuer != "":
		if x.provider(ctx, d, a.Issuer) {
			x.secrets(ctx, d, a)
		}
	case x.tenant(ctx):
		x.certificate(ctx, d, a)
		x.secrets(ctx, d, a)
	default:
		x.skip(x.about("client secret"), "it was not sent, because the tenant could not be confirmed")
	}
	return x.list
}

func (x *registration) about(what string) string { return x.name + " " + what }

// redirect prints the redirect URI as it must stand in the Azure portal. That it is the edge's was checked when the
// configuration was read; whether the edge answers there is the edge's check.
func (x *registration) redirect(d Doctor, a config.App) {
	subject := x.about("redirect URI")
	if a.RedirectURI == "" {
		x.skip(subject, "edge.public_url is not set for "+d.Process)
		return
	}
	x.ok(subject, a.RedirectURI+" must stand so in the Azure portal, letter for letter, as type Web; Microsoft does not tell whether it does")
}

// advise tells what follows from the settings alone.
func (x *registration) advise(a config.App) {
	switch subject := x.about("scopes"); {
	case !x.app.AsksEnough():
		x.skip(subject, "see the area configuration")
	case x.app.SpellsOfflineAccess():
		x.warn(subject, "offline_access is spelled with a resource; Microsoft documents it without, and Kindling sends it so", "write offline_access alone")
	default:
		x.ok(subject, "what Warmy needs is asked for: "+strings.Join(a.Scopes, " "))
	}
	if a.Cloud != "" && a.Cloud != "public" {
		x.warn(x.about("cloud"), "mailboxes of the cloud "+a.Cloud+" presumably do not work at Warmy: it is told no cloud, so it renews tokens at the public one (inference)",
			"try one mailbox to the end before you send more links")
	}
}

// asked reports what keeps a question from being answered, and whether it was.
func (x *registration) asked(subject string, v microsoft.Verdict) bool {
	x.clocks.hear(x.app.LoginHost(), v.Clock)
	switch f := v.Fault; {
	case v.Unreachable():
		x.away(subject, x.app.LoginHost()+": "+f.Cause, "look at the network of this machine; if it is right, run this again in a minute")
	case v.Foreign:
		x.wrong(subject, x.app.LoginHost()+": "+f.Cause, f.Remedy)
	default:
		return true
	}
	return false
}

// provider asks the OpenID provider that stands in for Microsoft where its endpoints are.
func (x *registration) provider(ctx context.Context, d Doctor, issuer string) bool {
	subject := x.about("issuer")
	found, err := microsoft.Discover(ctx, d.Transport, issuer)
	if err != nil {
		x.wrong(subject, issuer+": "+err.Error(), "look whether its /.well-known/openid-configuration answers from here, with this very issuer in it")
		return false
	}
	x.app.OpenID = found
	x.ok(subject, issuer+": its discovery document names all that is needed")
	return true
}

// tenant finds out whether the tenant exists, and tells who can consent there.
func (x *registration) tenant(ctx context.Context) bool {
	subject := x.about("tenant")
	found, v := x.prober.Tenant(ctx, x.app)
	if !x.asked(subject, v) {
		return false
	}
	if v.Fault != nil {
		x.refused(subject, v.Fault)
		return false
	}
	switch tenant := x.app.Tenant; {
	case x.app.OwnCloud() && found.Cloud != "" && found.Cloud != cloudLogin(x.app.Cloud):
		x.wrong(subject, fmt.Sprintf("%s is a tenant of the cloud %s, and the app's cloud is %s", tenant, found.Cloud, x.app.Cloud),
			"set the app's cloud, and register the app there: each cloud has its own registrations")
		return false
	case tenant == "common":
		x.warn(subject, "common: personal accounts can consent, too, if the registration lets them; one may have the same address as a work account",
			"set tenant to organizations, unless you connect personal mailboxes")
	case tenant == "organizations":
		x.ok(subject, "organizations: work and school accounts of any tenant, no personal ones")
	case tenant == "consumers":
		x.ok(subject, "consumers: personal accounts only")
	default:
		x.ok(subject, fmt.Sprintf("%s exists (%s): accounts of this tenant only, no personal ones; a row of the CSV may name another", tenant, found.TenantID))
	}
	return true
}

// cloudLogin is the cloud as a login host knows it: the government's two share one.
func cloudLogin(cloud string) string {
	switch cloud {
	case "usgov-dod":
		return "usgov"
	case "":
		return "public"
	}
	return cloud
}

// refused reports what Microsoft has against the app, in our words.
func (x *registration) refused(subject string, f *fault.Fault) {
	found := f.Cause
	if strings.HasPrefix(f.Code, "AADSTS") {
		found += " (" + f.Code + ")"
	}
	switch f.Class {
	case fault.LegDown, fault.Permanent:
		x.wrong(subject, found, f.Remedy)
	default:
		x.warn(subject, found, f.Remedy)
	}
}

// certificate tries what token-worker proves the app with instead of a secret.
func (x *registration) certificate(ctx context.Context, d Doctor, a config.App) {
	if !a.Certificate.Given() || d.Role&config.TokenWorker == 0 {
		return
	}
	subject := x.about("certificate")
	pair, err := a.Certificate.Read()
	if err != nil {
		x.skip(subject, "there is none to try; see the area configuration")
		return
	}
	signer, err := microsoft.NewCertificate(pair.Leaf(), pair.Key())
	if err != nil {
		x.wrong(subject, "nothing can be signed with it", "make a new certificate: RSA, 2048 bits or more")
		return
	}
	switch v := x.prober.Certificate(ctx, x.app, signer); {
	case !x.asked(subject, v):
	case v.Fault != nil:
		x.refused(subject, v.Fault)
	default:
		x.ok(subject, "Microsoft accepts it: app, tenant and certificate are right")
	}
}

// secrets tries each client secret by itself, so that an old one in the list is seen.
func (x *registration) secrets(ctx context.Context, d Doctor, a config.App) {
	subject := x.about("client secret")
	if d.Role&(config.TokenWorker|config.WarmyWorker) == 0 {
		x.skip(subject, d.Process+" holds no client secret; run this where token-worker runs")
		return
	}
	texts, err := a.ClientSecrets.Read()
	if err != nil || len(texts) == 0 {
		x.skip(subject, "there is none to try; see the area configuration")
		x.certificateAlone(a)
		x.sharedUnknown("it is tried with a client secret, and there is none here; run this where warmy-worker runs, whose secret Warmy is given")
		return
	}
	verdicts := make([]microsoft.Verdict, 0, len(texts))
	good := -1
	for i, text := range texts {
		v := x.prober.Secret(ctx, x.app, "", text)
		if !x.asked(subject, v) {
			return
		}
		if v.Fault != nil && !v.Refused {
			x.refused(x.name, v.Fault) // it is not about the secret, so the others would meet it, too
			return
		}
		if v.Fault == nil && good < 0 {
			good = i
		}
		verdicts = append(verdicts, v)
	}
	doubt := x.doubt(ctx, verdicts)
	for i, v := range verdicts {
		x.judge(x.position(i, len(verdicts)), v, good >= 0, doubt)
	}
	if good < 0 {
		x.sharedUnknown("it is tried with a client secret, and Microsoft accepts none of these")
		return
	}
	x.shared(ctx, texts[good])
}

func (x *registration) position(i, of int) string {
	if of == 1 {
		return x.about("client secret")
	}
	return x.about(fmt.Sprintf("client secret %d of %d", i+1, of))
}

// doubt says why an accepted secret proves nothing; empty if it does. A refused one among them shows that Microsoft looks at
// secrets before it looks at codes; else a made-up one has to show it.
func (x *registration) doubt(ctx context.Context, verdicts []microsoft.Verdict) string {
	for _, v := range verdicts {
		if v.Refused {
			return ""
		}
	}
	switch v := x.prober.Control(ctx, x.app); {
	case v.Refused:
		return ""
	case v.Fault == nil:
		return "Microsoft let a made-up secret pass just so, and looked at the code first"
	default:
		return "a made-up secret could not be tried to compare: " + v.Fault.Cause
	}
}

// judge reports one secret. A bad one beside a good one is a warning: Kindling goes on to the next.
func (x *registration) judge(subject string, v microsoft.Verdict, another bool, doubt string) {
	switch {
	case v.Fault == nil && doubt != "":
		x.warn(subject, "the secret may be right: "+doubt, "connect one mailbox of yours to be sure")
	case v.Fault == nil:
		x.ok(subject, "Microsoft accepts it: app, tenant and secret are right")
	case another:
		x.warn(subject, fmt.Sprintf("%s (%s), but another one in the list is accepted", v.Fault.Cause, v.Fault.Code),
			"take it out of client_secret_file: each process may offer it first, and Warmy may have been given it")
	default:
		x.refused(subject, v.Fault)
	}
}

// certificateAlone warns of an app of which this machine knows no client secret. For token-worker that is enough.
func (x *registration) certificateAlone(a config.App) {
	if a.Certificate.Given() {
		x.warn(x.about("certificate alone"), "this machine has a certificate for the app and no client secret. Warmy renews tokens by itself and is told a client secret, "+
			"with no field for a certificate (inference): without a secret no mailbox can be registered", "give warmy-worker a client_secret_file of this app; kindling doctor --for warmy-worker tries it")
	}
}

// sharedUnknown says why it is not known whether the app works where Warmy presumably renews its tokens.
func (x *registration) sharedUnknown(why string) {
	if x.sharedAddress() != "" {
		x.skip(x.about("multi-tenant"), why)
	}
}

// sharedAddress is where Warmy presumably renews the app's tokens; "" where the app is known to be at home there, or
// Microsoft is not asked at all.
func (x *registration) sharedAddress() string {
	switch {
	case x.app.OpenID != nil:
		return ""
	case x.app.Tenant == "consumers":
		return "common"
	case x.app.Shared():
		return ""
	}
	return "organizations"
}

// shared asks whether the app works where Warmy presumably renews its tokens: Warmy is told no tenant.
func (x *registration) shared(ctx context.Context, good secret.Text) {
	address := x.sharedAddress()
	if address == "" {
		return
	}
	subject := x.about("multi-tenant")
	v := x.prober.Secret(ctx, x.app, address, good)
	if !x.asked(subject, v) {
		return
	}
	if v.Fault == nil {
		x.ok(subject, "the app also works at the shared address ("+address+"), where Warmy presumably renews tokens (inference)")
		return
	}
	x.warn(subject, fmt.Sprintf("at the shared address (%s): %s (%s). Warmy is told no tenant, so it presumably renews tokens there (inference), and every mailbox would fail when its first access token ends",
		address, v.Fault.Cause, v.Fault.Code), "in the Azure portal, under Authentication, set the supported account types to any organizational directory")
}
