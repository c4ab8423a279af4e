package client

// TokenOf returns the token that a client sends.
func TokenOf(c *Client) string { return c.target.token }
