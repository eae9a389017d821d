package warmy

// Waiting counts those who wait for an account's listing.
func Waiting(c *Census, account string) int {
	r := c.roll(account)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.asks)
}

// Serving reports whether an account is listed for somebody.
func Serving(c *Census, account string) bool {
	r := c.roll(account)
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.serving
}
