package intelrdt

import (
	"os"
	"path"
	"strconv"
	"strings"

	"berth/libcontainer/host"
)

// Stats are the schemata and the counters of a container's group, with the
// JSON names of runc's events. It is empty without a group.
type Stats struct {
	L3CacheInfo       *L3CacheInfo `json:"l3_cache_info,omitempty"`
	L3CacheSchemaRoot string       `json:"l3_cache_schema_root,omitempty"` // of those in no group
	L3CacheSchema     string       `json:"l3_cache_schema,omitempty"`
	MemBwInfo         *MemBwInfo   `json:"mem_bw_info,omitempty"`
	MemBwSchemaRoot   string       `json:"mem_bw_schema_root,omitempty"`
	MemBwSchema       string       `json:"mem_bw_schema,omitempty"`
	Bandwidth         []Bandwidth  `json:"mbm_stats,omitempty"` // of each cache, in their order
	Occupancy         []Occupancy  `json:"cmt_stats,omitempty"`
}

// L3CacheInfo is what the processor lets share out of its cache.
type L3CacheInfo struct {
	CbmMask    string `json:"cbm_mask,omitempty"`
	MinCbmBits uint64 `json:"min_cbm_bits,omitempty"`
	NumClosids uint64 `json:"num_closids,omitempty"`
}

// MemBwInfo is how finely memory bandwidth can be shared out.
type MemBwInfo struct {
	BandwidthGran uint64 `json:"bandwidth_gran,omitempty"`
	DelayLinear   uint64 `json:"delay_linear,omitempty"`
	MinBandwidth  uint64 `json:"min_bandwidth,omitempty"`
	NumClosids    uint64 `json:"num_closids,omitempty"`
}

// Bandwidth is bytes that went through one cache.
type Bandwidth struct {
	Total uint64 `json:"mbm_total_bytes"`
	Local uint64 `json:"mbm_local_bytes"`
}

// Occupancy is bytes of one cache.
type Occupancy struct {
	LLC uint64 `json:"llc_occupancy"`
}

// Stats reads the groups below root, where resctrl is mounted. What is missing
// is left out.
func (s State) Stats(root string) Stats {
	var out Stats
	if root == "" || len(s.Tasks) == 0 {
		return out
	}
	group := s.Tasks[len(s.Tasks)-1] // the one that counts, if any does
	out.L3CacheSchemaRoot, out.MemBwSchemaRoot = schemaOf(root, "L3"), schemaOf(root, "MB")
	out.L3CacheSchema, out.MemBwSchema = schemaOf(s.Tasks[0], "L3"), schemaOf(s.Tasks[0], "MB")
	if info := path.Join(root, "info/L3"); out.L3CacheSchemaRoot != "" {
		out.L3CacheInfo = &L3CacheInfo{word(info, "cbm_mask"), count(info, "min_cbm_bits"), count(info, "num_closids")}
	}
	if info := path.Join(root, "info/MB"); out.MemBwSchemaRoot != "" {
		out.MemBwInfo = &MemBwInfo{count(info, "bandwidth_gran"), count(info, "delay_linear"), count(info, "min_bandwidth"), count(info, "num_closids")}
	}
	data := path.Join(group, "mon_data")
	caches, _ := os.ReadDir(data)
	for _, cache := range caches {
		dir := path.Join(data, cache.Name())
		if word(dir, "mbm_total_bytes") != "" {
			out.Bandwidth = append(out.Bandwidth, Bandwidth{count(dir, "mbm_total_bytes"), count(dir, "mbm_local_bytes")})
		}
		if word(dir, "llc_occupancy") != "" {
			out.Occupancy = append(out.Occupancy, Occupancy{count(dir, "llc_occupancy")})
		}
	}
	return out
}

// schemaOf is a group's line for one kind of resource.
func schemaOf(group, kind string) string {
	text, _ := host.ReadFile(path.Join(group, "schemata"))
	for line := range strings.Lines(string(text)) {
		if k, _ := domains(line); k == kind {
			return strings.TrimSpace(line)
		}
	}
	return ""
}

func word(dir, name string) string {
	text, _ := host.ReadFile(path.Join(dir, name))
	return strings.TrimSpace(string(text))
}

func count(dir, name string) uint64 {
	n, _ := strconv.ParseUint(word(dir, name), 10, 64)
	return n
}
