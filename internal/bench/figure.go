package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// figure is one line of the table.
type figure struct {
	name, value, against string
	aim                  string // "–": none
	met                  string // "met", "not met", or "–" where there is no aim
}

// atLeast judges a figure that must not be lower than its aim.
func atLeast(f figure, value, aim float64) figure {
	f.aim = fmt.Sprintf("≥ %g", aim)
	return f.judged(value >= aim)
}

// atMost judges a figure that must not be higher than its aim, which is shown in the given format.
func atMost(f figure, value, aim float64, format string) figure {
	f.aim = "≤ " + fmt.Sprintf(format, aim)
	return f.judged(value <= aim)
}

func (f figure) judged(met bool) figure {
	f.met = "not met"
	if met {
		f.met = "met"
	}
	return f
}

func printFigures(out io.Writer, figures []figure) error {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tMEASURED\tAGAINST\tAIM\tVERDICT")
	for _, f := range figures {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", f.name, f.value, f.against, f.aim, f.met)
	}
	return w.Flush()
}
