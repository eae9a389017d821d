package console

type pages struct{}

func newPages() (*pages, error) { return &pages{}, nil }

func (p *pages) problem(r *request, pr *Problem) { writeProblem(r.w, pr) }

func (c *Console) pageRoutes() []route { return nil }
