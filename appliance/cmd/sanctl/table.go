package main

import (
	"strings"
	"unicode/utf8"

	"sanstick/appliance/status"
)

// page collects lines of text.
type page struct{ text strings.Builder }

// line adds one line.
func (p *page) line(parts ...string) {
	p.text.WriteString(strings.TrimRight(status.Clean(strings.Join(parts, "")), " ") + "\n")
}

// heading starts a block.
func (p *page) heading(s string) { p.line(); p.line(s) }

// table adds rows whose cells line up, two blanks apart. The last cell of a row
// does not widen its column.
func (p *page) table(indent string, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, cell := range row[:max(len(row)-1, 0)] {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(status.Clean(cell)))
		}
	}
	for _, row := range rows {
		line := indent
		for i, cell := range row {
			cell = status.Clean(cell)
			line += cell
			if i < len(row)-1 {
				line += strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2)
			}
		}
		p.line(line)
	}
}
