package bench

import (
	"time"

	"kindling/internal/app"
	"kindling/internal/config"
	"kindling/internal/secret"
)

// configFor points a process at the simulators. Nothing paces or waits: the machine is what is measured.
func configFor(s *simulator, data app.Data) config.Config {
	return config.Config{
		Edge:    config.EdgeSettings{PublicURL: "http://127.0.0.1:1", Listen: "127.0.0.1:0", ResponseMode: "query", LinkLife: time.Hour, RequestsPerSecond: 100_000},
		Console: config.ConsoleSettings{Listen: "127.0.0.1:0", OperatorsFile: data.OperatorsFile()},
		Keys:    config.Keys{Dir: data.Keys()},
		Apps: []config.App{{
			Name: "main", Cloud: "public", Tenant: "organizations", ClientID: clientID, ClientSecrets: config.Inline(secret.New(clientSecret)),
			RedirectURI: redirectURI, Authority: s.Microsoft, GraphURL: s.Microsoft, AllowCustomAuthority: true,
			Scopes: []string{"openid", "profile", "email", "offline_access", "User.Read", "Mail.Send", "Mail.ReadWrite", "Mail.Read"},
		}},
		Accounts: []config.Account{{
			Name: "main", BaseURL: s.Warmy, Auth: config.AuthBearer, APIKey: config.Inline(secret.New(apiKey)), HolderUID: holderUID, AllowCustomHost: true,
		}},
		Defaults: config.Defaults{App: "main", Account: "main", TariffPlanTypeID: 41, SpeedMode: "fast"},
		Policy: config.Policy{
			ReconcileAfter: time.Minute, RefreshMargin: 10 * time.Minute, RetryBase: time.Second, RetryCap: time.Minute, MaxAttempts: 10, HoldFor: 30 * time.Second,
		},
	}
}
