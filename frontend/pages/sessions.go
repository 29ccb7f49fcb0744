package pages

import (
	"strings"
	"time"

	identityv1 "github.com/tenon-run/tenon/proto/tenon/identity/v1"
)

// SessionsView is a user's sign-ins at the instant Now, newest first.
type SessionsView struct {
	Sessions []*identityv1.Session
	Now      time.Time
}

// program is what signed in, in few words: the browser and the system that its name tells.
func program(agent string) string {
	if agent == "" {
		return "Unnamed program"
	}
	found := func(names ...string) string {
		for _, name := range names {
			if strings.Contains(agent, name) {
				return name
			}
		}
		return ""
	}
	// The order matters: Edge calls itself Chrome too, and Chrome Safari.
	browser := found("Firefox", "Edg", "OPR", "Chrome", "Safari")
	if browser == "" {
		return agent
	}
	for short, name := range map[string]string{"Edg": "Edge", "OPR": "Opera"} {
		if browser == short {
			browser = name
		}
	}
	system := found("Android", "iPhone", "iPad", "Windows", "Mac OS X", "Linux")
	if system == "" {
		return browser
	}
	return browser + " on " + strings.TrimSuffix(system, " OS X")
}
