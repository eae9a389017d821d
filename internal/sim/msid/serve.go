package msid

import (
	"net/http"
	"time"

	"kindling/internal/sim/trouble"
)

// plain serves an operation that belongs to no address.
func (s *Server) plain(w http.ResponseWriter, r *http.Request, op string, truth func() trouble.Reply) {
	rule := s.troubles.Next(op, "")
	if rule.Kind == trouble.Delay {
		trouble.Wait(r.Context(), time.Duration(rule.Delay))
	}
	reply := truth()
	outcome := http.StatusText(reply.Status)
	if rule.Wire() {
		outcome = string(rule.Kind)
	}
	s.book.total(op, outcome)
	rule.Play(w, r, reply)
}

// serveLedger answers GET /_sim/ledger: the totals, and with ?address= what is
// known of one address, with ?codes=all every code.
func (s *Server) serveLedger(w http.ResponseWriter, r *http.Request) {
	out := map[string]any{"summary": s.Summary()}
	if address := r.URL.Query().Get("address"); address != "" {
		out["account"], out["codes"] = s.Account(address), s.Codes(address)
	}
	if r.URL.Query().Get("codes") == "all" {
		out["codes"] = s.Codes("")
	}
	trouble.JSON(http.StatusOK, out).Write(w)
}

func (s *Server) serveCodes(w http.ResponseWriter, r *http.Request) {
	var n NewCode
	if trouble.Read(w, r, &n) {
		trouble.JSON(http.StatusOK, map[string]any{"codes": s.IssueCodes(n)}).Write(w)
	}
}

func (s *Server) serveEnd(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Address string `json:"address"`
		Code    int    `json:"code"`
	}
	if trouble.Read(w, r, &in) {
		trouble.JSON(http.StatusOK, map[string]int{"ended": s.EndGrants(in.Address, in.Code)}).Write(w)
	}
}

func (s *Server) serveRotate(w http.ResponseWriter, r *http.Request) {
	s.RotateKeys(r.URL.Query().Get("forget") == "true")
	trouble.JSON(http.StatusOK, map[string]int{"keys": len(s.keys.published())}).Write(w)
}
