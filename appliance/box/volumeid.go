package box

import "strings"

// volumeID says which volume, or which snapshot as in "golden@monday". The
// configuration has each name once; but pools may hold what it doesn't name, and
// names are unique in a pool only.
type volumeID struct{ pool, name string }

// String is what package pool takes for it.
func (v volumeID) String() string { return v.pool + "/" + v.name }

// volume is the volume of a snapshot; that of a volume is itself.
func (v volumeID) volume() volumeID {
	v.name, _, _ = strings.Cut(v.name, "@")
	return v
}

// volumeID finds what a person has named, without the pool's name if one pool only
// has something of that name.
func (b *box) volumeID(name string) (volumeID, error) {
	in, err := b.pools.PoolOf(name)
	return volumeID{in, name[strings.IndexByte(name, '/')+1:]}, err
}
