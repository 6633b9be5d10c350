package cgroups

import (
	"strconv"

	"berth/libcontainer/fault"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// blockIO plans linux.resources.blockIO. A weight of 0 means not set.
//
// Weights belong to a scheduler: BFQ has its own files, the plain ones were
// CFQ's on v1 (gone with Linux 5.0) and are io.cost's on v2.
func (p *planner) blockIO(b *specs.LinuxBlockIO, field fault.Pointer) {
	t := p.on("blkio", "io")
	if w := weight(b.Weight); w != 0 {
		t.weight(w, field.At("weight"))
	}
	if w := weight(b.LeafWeight); w != 0 {
		t.leafWeight("blkio.leaf_weight", strconv.Itoa(w), field.At("leafWeight"))
	}
	for i, d := range b.WeightDevice {
		t.weightDevice(d, field.At("weightDevice").Index(i))
	}
	for _, list := range []struct {
		name, v1, v2 string
		devices      []specs.LinuxThrottleDevice
	}{
		{"throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", b.ThrottleReadBpsDevice},
		{"throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", b.ThrottleWriteBpsDevice},
		{"throttleReadIOPSDevice", "blkio.throttle.read_iops_device", "riops", b.ThrottleReadIOPSDevice},
		{"throttleWriteIOPSDevice", "blkio.throttle.write_iops_device", "wiops", b.ThrottleWriteIOPSDevice},
	} {
		for i, d := range list.devices {
			t.throttle(d, list.v1, list.v2, field.At(list.name).Index(i))
		}
	}
}

func weight(w *uint16) int {
	if w == nil {
		return 0
	}
	return int(*w)
}

// device prints "MAJ:MIN".
func device(d specs.LinuxBlockIODevice) string {
	return strconv.FormatInt(d.Major, 10) + ":" + strconv.FormatInt(d.Minor, 10)
}

func (t target) weight(w int, field fault.Pointer) {
	plain := strconv.Itoa(w)
	if t.v2 {
		t.put("io.bfq.weight", plain, field, Write{Else: &Write{File: "io.weight", Value: ioWeight(w)}})
		return
	}
	t.put("blkio.bfq.weight", plain, field, Write{Else: &Write{File: "blkio.weight", Value: plain}})
}

func (t target) leafWeight(file, value string, field fault.Pointer) {
	if t.v2 {
		t.p.ignored(field, "cgroup v2 has no leaf weights; ignored")
		return
	}
	t.put(file, value, field, Write{})
}

func (t target) weightDevice(d specs.LinuxWeightDevice, field fault.Pointer) {
	if d.Weight == nil && d.LeafWeight == nil {
		t.p.complain(field, "sets neither weight nor leafWeight", "")
		return
	}
	dev := device(d.LinuxBlockIODevice) + " "
	if w := weight(d.Weight); w != 0 && t.v2 {
		t.put("io.bfq.weight", dev+strconv.Itoa(w), field.At("weight"), Write{Else: &Write{File: "io.weight", Value: dev + ioWeight(w)}})
	} else if w != 0 {
		value := dev + strconv.Itoa(w)
		t.put("blkio.bfq.weight_device", value, field.At("weight"), Write{Else: &Write{File: "blkio.weight_device", Value: value}})
	}
	if w := weight(d.LeafWeight); w != 0 {
		t.leafWeight("blkio.leaf_weight_device", dev+strconv.Itoa(w), field.At("leafWeight"))
	}
}

// throttle limits one device; a rate of 0 lifts the limit.
func (t target) throttle(d specs.LinuxThrottleDevice, v1, v2 string, field fault.Pointer) {
	rate, at := strconv.FormatUint(d.Rate, 10), field.At("rate")
	if !t.v2 {
		t.put(v1, device(d.LinuxBlockIODevice)+" "+rate, at, Write{})
		return
	}
	if d.Rate == 0 {
		rate = "max"
	}
	t.put("io.max", device(d.LinuxBlockIODevice)+" "+v2+"="+rate, at, Write{})
}

// ioWeight stretches a blkio weight (10 to 1000) to an io.weight (1 to 10000),
// end to end and in between linearly (KEP-2254).
func ioWeight(w int) string {
	return strconv.Itoa(max(1+(w-10)*9999/990, 1))
}
