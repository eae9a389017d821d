// Package sample holds the mailboxes that the demo connects, so that it runs
// with nothing but the program. All domains are reserved ones (RFC 2606) and all
// persons invented. The content never varies: runs can be compared.
package sample

import (
	_ "embed"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// CSV is a campaign file of 200 mailboxes in twelve companies. Do not modify it.
//
//go:embed sample.csv
var CSV []byte

// Write makes a campaign file of n mailboxes, the first 200 being those of CSV.
func Write(w io.Writer, n int) error {
	if _, err := io.WriteString(w, "email,from_name,external_id,speed_mode\n"); err != nil {
		return fmt.Errorf("write header: %w", err)
	}
	c := cast{strings.Fields(givenNames), strings.Fields(surnameList), strings.Fields(companyList)}
	for i := range n {
		if _, err := io.WriteString(w, c.mailbox(i)); err != nil {
			return fmt.Errorf("write mailbox: %w", err)
		}
	}
	return nil
}

type cast struct{ givens, surnames, companies []string }

// mailbox gives row i. A pair of names comes back only when all are used (one
// more than the given names shares no factor with the surnames), and is then
// told apart by a number.
func (c cast) mailbox(i int) string {
	given := c.givens[i%len(c.givens)]
	surname := c.surnames[(i+i/len(c.givens))%len(c.surnames)]
	local := strings.ToLower(given + "." + surname)
	if round := i / (len(c.givens) * len(c.surnames)); round > 0 {
		local += strconv.Itoa(round + 1)
	}
	// Tenants are of uneven size: each letter is a company's turn.
	const turns = "abacadaebfcagbhaciabjdakealcb"
	company := c.companies[turns[i%len(turns)]-'a']
	speeds := [...]string{"fast", "medium", "fast", "slow", "medium"}
	return fmt.Sprintf("%s@%s,%s %s,crm-%d,%s\n", local, company, given, surname, 1001+i, speeds[i%len(speeds)])
}

const (
	companyList = `harbor-analytics.example northgate-robotics.example lumen-foods.example pinecrest-legal.example
		bluefjord-shipping.example tessera-health.example quarry-software.example maple-and-finch.example
		orbital-print.example saltmarsh-energy.example copperline-bank.example verdant-farms.example`
	givenNames = `Ada Bruno Carla Dario Elif Felix Greta Hugo Ines Jonas Kira Levi Mara Nils Olga Pavel Quinn Rosa
		Samir Tilda Umar Vera Wanda Xenia Yusuf Zoe Anton Beata Cem Dora Emil Farah Gustav Hanna Igor Juna Kofi`
	surnameList = `Keller Lindt Moreau Novak Okafor Petrov Quist Rossi Sandberg Tanaka Ueda Varga Weiss Yilmaz Zeman
		Almeida Brandt Costa Duarte Eriksen Fischer Garnier Holm Ivers Jansen Kowal Lopes Marek Nyberg Olsen Pohl
		Radek Silva Torres Ulrich Vogel Winter Albrecht Becker Castel Dahl`
)
