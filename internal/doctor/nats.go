package doctor

import (
	"context"
	"errors"
	"strings"

	"kindling/internal/app"
	"kindling/internal/bus"
	"kindling/internal/bus/embed"
	"kindling/internal/config"
	"kindling/internal/service"
)

// processes are those of a role, as NATS knows them.
func processes(role config.Role) []string {
	var names []string
	for _, p := range []struct {
		role config.Role
		name string
	}{
		{config.Edge, bus.ProcessEdge},
		{config.TokenWorker, bus.ProcessTokenWorker},
		{config.WarmyWorker, bus.ProcessWarmyWorker},
		{config.Console, bus.ProcessConsole},
	} {
		if p.role&role != 0 {
			names = append(names, p.name)
		}
	}
	return names
}

// nats looks at the message store as the processes do at their start. It makes and changes nothing.
func (d Doctor) nats(ctx context.Context, cfg config.Config) []Finding {
	r := &report{area: areaNATS}
	switch {
	case d.Pre:
		r.skip("", "left out by --pre")
	case cfg.NATS.URL != "":
		d.remote(ctx, cfg, r)
	case d.Role == config.Up:
		d.embedded(ctx, cfg, r)
	default:
		r.skip("", "nats.url is not set")
	}
	return r.list
}

// remote looks at the store of nats.url, once as each process of the role.
func (d Doctor) remote(ctx context.Context, cfg config.Config, r *report) {
	looked := false
	for _, process := range processes(d.Role) {
		store, err := app.OpenStoreAs(ctx, cfg, d.Data, process, d.Log)
		if err != nil {
			storeFault(r, cfg.NATS.URL, err)
			if !errors.Is(err, bus.ErrDenied) {
				return // it would meet the next one, too
			}
			continue
		}
		rights(ctx, r, process, store)
		if !looked {
			looked = true
			r.ok(cfg.NATS.URL, "NATS "+store.ServerVersion()+" answers, with JetStream")
			inspect(ctx, r, store)
			differences(ctx, r, store)
			astray(ctx, r, store)
		}
		_ = store.Close() // nothing was written
	}
}

// embedded looks at the store of kindling up while nobody else has it.
func (d Doctor) embedded(ctx context.Context, cfg config.Config, r *report) {
	store, err := app.OpenStoreAs(ctx, cfg, d.Data, bus.ProcessAdmin, d.Log)
	switch {
	case errors.Is(err, app.ErrNoStore):
		r.skip(string(d.Data), "there is no message store yet: kindling up makes it at its first start")
		return
	case errors.Is(err, embed.ErrInUse):
		r.skip(string(d.Data), "kindling up runs and has the store to itself; it looked at it when it started")
		return
	case err != nil:
		storeFault(r, string(d.Data), err)
		return
	}
	r.ok(string(d.Data), "the embedded NATS "+store.ServerVersion()+" starts on its data")
	inspect(ctx, r, store)
	differences(ctx, r, store)
	astray(ctx, r, store)
	if err := store.Close(); err != nil {
		r.add(Fail, Other, string(d.Data), "the store does not close: "+err.Error(), "look at the disk")
	}
}

// storeFault reports an error of the store by the exit code with which a process would end.
func storeFault(r *report, subject string, err error) {
	var unfit *bus.UnfitError
	switch {
	case errors.As(err, &unfit):
		for _, f := range unfit.Findings {
			r.wrong(subject, f.What, f.Remedy)
		}
	case errors.Is(err, bus.ErrDenied):
		r.add(Fail, Other, subject, err.Error(), "docs/operator/manual.md, Rights in NATS")
	case service.ExitCode(err) == service.ExitConfig:
		r.wrong(subject, err.Error(), "")
	default:
		r.away(subject, strings.ReplaceAll(err.Error(), "\n", "; "), "start NATS, or correct nats.url")
	}
}

// rights tells which rights the process's user lacks.
func rights(ctx context.Context, r *report, process string, store *app.Store) {
	subject := "rights of " + process
	err := store.CheckRights(ctx)
	switch {
	case err == nil:
		r.ok(subject, "its NATS user may do all that it needs")
	case errors.Is(err, bus.ErrDenied):
		for line := range strings.SplitSeq(err.Error(), "\n") {
			r.add(Fail, Other, subject, line, "take over deployments/nats/users.conf of this version, and reload the server")
		}
	default:
		storeFault(r, subject, err)
	}
}

// inspect reports what the server says of itself.
func inspect(ctx context.Context, r *report, store *app.Store) {
	found, err := store.Inspect(ctx)
	if err != nil {
		storeFault(r, "server", err)
		return
	}
	for _, f := range found {
		finding(r, "server", f)
	}
}

// finding reports something of the store. A note is nothing that is wrong.
func finding(r *report, subject string, f bus.Finding) {
	switch f.Severity {
	case bus.Unsafe:
		r.wrong(subject, f.What, f.Remedy)
	case bus.Tolerated:
		r.warn(subject, f.What, f.Remedy)
	default:
		r.add(OK, "", subject, f.What, f.Remedy)
	}
}

// differences compares the streams with what this version needs. To list consumers is an administrator's right.
func differences(ctx context.Context, r *report, store *app.Store) {
	const subject = "streams"
	missing, drifts, err := store.Differences(ctx)
	if err != nil {
		storeFault(r, subject, err)
		return
	}
	for _, d := range drifts {
		finding(r, d.Name(), d.Finding())
	}
	switch {
	case len(missing) > 0:
		r.warn(subject, "missing: "+strings.Join(missing, ", "), "kindling store migrate makes them; so does the first process that may")
	case len(drifts) == 0:
		r.ok(subject, "all are there, and as this version needs them; kindling store check compares consumers, too")
	}
}

// astray reports registrations that lie where no consumer takes them. That streams are missing is told already.
func astray(ctx context.Context, r *report, store *app.Store) {
	found, err := store.Astray(ctx)
	if err != nil {
		return
	}
	for _, f := range found {
		finding(r, "registrations", f)
	}
}
