// Package hostile tests what a node has to survive: guests that mean harm, beside an app
// that is being served, and guests that try to see what the request before them has
// left. It has no code of the product.
package hostile
