package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// maxErrors bounds what is reported about one file.
const maxErrors = 50

// An Error is one thing that is wrong with a configuration file. No Error
// holds the value of a secret.
type Error struct {
	File string
	Line int    // from 1; 0 if the file as a whole is at fault
	Key  string // such as "pool.layout"; empty if no key is at fault
	Msg  string // what is wrong and what to do
}

// Error gives "file:line: key: what is wrong".
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.File)
	if e.Line > 0 {
		fmt.Fprintf(&b, ":%d", e.Line)
	}
	b.WriteString(": ")
	if e.Key != "" {
		b.WriteString(e.Key + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

// Errors is everything that is wrong with a file, sorted by line.
type Errors []*Error

// Error gives one line for each error.
func (e Errors) Error() string { return strings.Join(e.Strings(), "\n") }

// Strings gives the text of each error.
func (e Errors) Strings() []string {
	s := make([]string, len(e))
	for i, err := range e {
		s[i] = err.Error()
	}
	return s
}

// sorted orders the errors by line and bounds their number.
func (e Errors) sorted() Errors {
	slices.SortFunc(e, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Key, b.Key), cmp.Compare(a.Msg, b.Msg))
	})
	if len(e) <= maxErrors {
		return e
	}
	rest := e[maxErrors-1:]
	more := &Error{File: rest[0].File, Line: rest[0].Line,
		Msg: fmt.Sprintf("%d more errors from here on; correct the ones above first", len(rest))}
	return append(e[:maxErrors-1:maxErrors-1], more)
}
