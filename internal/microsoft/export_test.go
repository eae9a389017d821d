package microsoft

// Entry is a row of the taxonomy as the tests outside of the package see it.
type Entry struct {
	Codes                []int
	Actor, Cause, Remedy string
}

// Taxonomy returns the whole taxonomy.
func Taxonomy() []Entry {
	var all []Entry
	for _, r := range table() {
		all = append(all, Entry{r.codes, string(r.actor), r.cause, r.remedy})
	}
	return all
}
