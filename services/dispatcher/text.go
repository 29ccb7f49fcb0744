package dispatcher

import (
	"strings"
	"unicode/utf8"
)

const cutMark = " ... [cut]"

// cutBytes shortens a text to at most limit bytes, between characters.
func cutBytes(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// cutMarked shortens a text to at most limit bytes and says so at its end.
func cutMarked(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return cutBytes(text, limit-len(cutMark)) + cutMark
}

// storable replaces what a text column of Postgres does not take.
func storable(text string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(text, "\uFFFD"), "\x00", "\uFFFD")
}
