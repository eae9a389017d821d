package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
)

// errServerAnswer: NATS lets whoever may ask JetStream anything choose where the answer goes, and does not ask whether he
// may write there. So an answer can stand where a fact belongs. It must not be read as a fact without content, which
// would mean that nothing has happened yet (docs/adr/0018).
var errServerAnswer = errors.New("the value is an answer of the NATS server, which another process has sent here")

// serverAnswer reports whether data is what JetStream answers to a question or to a publish.
func serverAnswer(data []byte) bool {
	if !bytes.Contains(data, []byte(`"io.nats.`)) && !bytes.Contains(data, []byte(`"seq"`)) {
		return false
	}
	var answer struct {
		Type     string  `json:"type"`
		Stream   *string `json:"stream"`
		Sequence *uint64 `json:"seq"`
	}
	if json.Unmarshal(data, &answer) != nil {
		return false
	}
	return strings.HasPrefix(answer.Type, "io.nats.") || answer.Stream != nil && answer.Sequence != nil
}
