package coldplug

// match reports whether s matches the pattern of modules.alias as fnmatch(3)
// does without flags: *, ? and [a-z] sets. A hyphen equals an underscore, as
// for modprobe. It never takes more than len(pattern)*len(s) steps.
func match(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0 // after the last *, and where it stopped matching
	for i < len(s) {
		if p < len(pattern) && pattern[p] == '*' {
			p++
			star, mark = p, i
			continue
		}
		if p < len(pattern) {
			if n, ok := matchOne(pattern[p:], s[i]); ok {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// matchOne matches c with the first element of the pattern, which isn't a *,
// and tells how long that element is.
func matchOne(pattern string, c byte) (n int, ok bool) {
	switch pattern[0] {
	case '?':
		return 1, true
	case '[':
		return matchSet(pattern, c)
	}
	return 1, fold(pattern[0]) == fold(c)
}

// matchSet handles a set such as [a-f2] or [!x]; one without its end matches
// nothing.
func matchSet(pattern string, c byte) (n int, ok bool) {
	i := 1
	not := i < len(pattern) && (pattern[i] == '!' || pattern[i] == '^')
	if not {
		i++
	}
	hit := false
	for first := true; i < len(pattern) && (first || pattern[i] != ']'); first = false {
		lo, hi := pattern[i], pattern[i]
		i++
		if i+1 < len(pattern) && pattern[i] == '-' && pattern[i+1] != ']' {
			hi = pattern[i+1]
			i += 2
		}
		hit = hit || lo <= c && c <= hi
	}
	if i >= len(pattern) {
		return 0, false
	}
	return i + 1, hit != not
}

func fold(c byte) byte {
	if c == '-' {
		return '_'
	}
	return c
}
