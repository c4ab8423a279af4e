package release

import (
	"fmt"
	"strings"

	orlav1 "github.com/orla-edge/orla/proto/orla/v1"
)

// What one function may be granted.
const (
	maxStores  = 16
	maxSecrets = 64
	maxStore   = 63
	maxSecret  = 64
)

// CheckStore returns what is wrong with the name of a key-value store; nil if nothing
// is.
func CheckStore(name string) error {
	plain := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' || r == '-' }
	if name == "" || len(name) > maxStore || strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return fmt.Errorf("%s is no name of a key-value store; write 1 to %d lower-case letters, digits, _ and -, such as \"sessions\"", quote(name), maxStore)
	}
	return nil
}

// CheckSecretName returns what is wrong with the name of a secret; nil if nothing is.
func CheckSecretName(name string) error {
	letter := func(r rune) bool { return r >= 'A' && r <= 'Z' }
	other := func(r rune) bool { return letter(r) || r >= '0' && r <= '9' || r == '_' }
	if name == "" || len(name) > maxSecret || !letter(rune(name[0])) || strings.ContainsFunc(name, func(r rune) bool { return !other(r) }) {
		return fmt.Errorf("%s is no name of a secret; write 1 to %d upper-case letters, digits and _, a letter first, such as \"STRIPE_KEY\"", quote(name), maxSecret)
	}
	return nil
}

// grants checks what a function asks for beside its limits.
func (v *validator) grants(field string, fn *orlav1.Function) {
	if n := len(fn.GetKv()); n > maxStores {
		v.reject(field+".kv", "there are %d stores, the most is %d; keep several kinds of keys in one, with a prefix", n, maxStores)
		return
	}
	for i, store := range fn.GetKv() {
		if err := CheckStore(store); err != nil {
			v.rejectError(fmt.Sprintf("%s.kv[%d]", field, i), err)
		}
	}
	if i, ok := duplicate(fn.GetKv()); ok {
		v.reject(fmt.Sprintf("%s.kv[%d]", field, i), "store %s is there twice; remove one", quote(fn.GetKv()[i]))
	}
	if n := len(fn.GetSecrets()); n > maxSecrets {
		v.reject(field+".secrets", "there are %d secrets, the most is %d; put several values into one", n, maxSecrets)
		return
	}
	seen := map[string]bool{}
	for i, s := range fn.GetSecrets() {
		at := fmt.Sprintf("%s.secrets[%d]", field, i)
		_, variable := fn.GetEnv()[s.GetName()]
		switch err := CheckSecretName(s.GetName()); {
		case err != nil:
			v.rejectError(at, err)
		case seen[s.GetName()]:
			v.reject(at, "secret %s is there twice; remove one", s.GetName())
		case variable:
			v.reject(at, "%s is in env too; remove it there, or rename the secret", s.GetName())
		case s.GetVersion() != 0 && !v.stored:
			v.reject(at, "a client must not say which version of a secret a release has; the node takes the newest, leave it out")
		}
		seen[s.GetName()] = true
	}
}
