package config

// Oldest and Newest are the schemas that this version reads. A new schema gets
// a new number only if an older appliance would take such a file for something
// that it isn't; a key that is only added needs none, for it is refused there.
const (
	Oldest = 1
	Newest = 1
)

// Schema is the schema that the file was written for.
func (c *Config) Schema() int { return max(c.Version, Oldest) }

// readable refuses a file of a newer schema as a whole: what its keys mean
// isn't known here.
func (w *walker) readable(top map[string]any) {
	if n, ok := top["version"].(int64); ok && n > Newest {
		w.fail(w.pos.line("version"), "version", "is %d: the file was written for a newer version of sanstick, and this one reads up to %d; "+
			"update sanstick, or take a file for this version", n, Newest)
	}
}

// version reads the number of the schema; 0 if it isn't there.
func (s section) version() int {
	n, ok := s.number("version", "version = 1")
	if ok && (n < Oldest || n > Newest) {
		s.fail("version", "is %d, but must be %d", n, Newest)
		return 0
	}
	return int(n)
}
