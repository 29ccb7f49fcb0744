package bus

import (
	"strings"

	"github.com/tenon-run/tenon/internal/fault"
)

// Match reports whether a subject falls under a pattern, by NATS's rules: "*" stands for one token, a last ">" for one or more.
func Match(pattern, subject string) bool {
	for {
		want, restPattern, morePattern := strings.Cut(pattern, ".")
		have, restSubject, moreSubject := strings.Cut(subject, ".")
		if want == ">" && !morePattern {
			return true
		}
		if want != "*" && want != have {
			return false
		}
		if !morePattern || !moreSubject {
			return morePattern == moreSubject
		}
		pattern, subject = restPattern, restSubject
	}
}

// checkSubject refuses what NATS would refuse or misread. Wildcards are allowed in patterns only.
func checkSubject(subject string, allowPattern bool) error {
	tokens := strings.Split(subject, ".")
	for i, token := range tokens {
		bad := token == "" || strings.ContainsAny(token, " \t\r\n")
		if token == "*" || token == ">" {
			bad = !allowPattern || token == ">" && i != len(tokens)-1
		}
		if bad {
			return fault.Invalid(ReasonBadSubject, "the bus cannot use the subject \""+subject+"\": tokens between dots, no spaces, wildcards only where one listens")
		}
	}
	return nil
}
