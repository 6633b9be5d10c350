package main

import (
	"strings"
	"testing"
	"time"
)

const hybrid = `22 26 0:21 / /sys rw,relatime - sysfs sysfs rw
30 22 0:27 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 30 0:32 / /sys/fs/cgroup/devices rw,relatime shared:3 - cgroup cgroup rw,devices
31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct
40 30 0:37 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
`

func TestViewsOfAMachine(t *testing.T) {
	for _, c := range []struct{ name, mountinfo, views, groups, unified string }{
		{"hybrid", hybrid, "v1 v2", "v1:cpu,cpuacct:devices", "/sys/fs/cgroup/unified"},
		{"v2", "30 22 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", "v2", "v1", "/sys/fs/cgroup"},
		{"v1", "35 30 0:32 / /sys/fs/cgroup/devices rw - cgroup cgroup rw,devices\n", "v1", "v1:devices", ""},
		{"none", "22 26 0:21 / /sys rw - sysfs sysfs rw\n", "", "v1", ""},
	} {
		mounts := cgroupMounts(strings.NewReader(c.mountinfo))
		if got := strings.Join(viewsHere(mounts), " "); got != c.views {
			t.Errorf("%s: views %q, want %q", c.name, got, c.views)
		}
		if got := (view{"v1", hierarchiesV1(mounts)}).groups(); got != c.groups {
			t.Errorf("%s: groups %q, want %q", c.name, got, c.groups)
		}
		if got := unified(mounts); got != c.unified {
			t.Errorf("%s: cgroup2 at %q, want %q", c.name, got, c.unified)
		}
	}
}

func TestGroupDirs(t *testing.T) {
	for _, c := range []struct {
		view view
		want string
	}{
		{view{name: "v2"}, "/sys/fs/cgroup/x"},
		{view{"v1", []string{"cpu", "systemd"}}, "/sys/fs/cgroup/cpu/x /sys/fs/cgroup/systemd/x"},
	} {
		if got := strings.Join(c.view.groupDirs("x"), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.view.name, got, c.want)
		}
	}
}

// TestCommands reads like what is typed.
func TestCommands(t *testing.T) {
	c := container{id: "ID", bundle: "/b", rootfs: "/r", args: []string{"/bin/true"}, root: "/s", pidFile: "/p", view: view{name: "v2"}}
	for _, want := range []string{
		"runc --root /s run --bundle /b ID",
		"runc --root /s create --bundle /b --pid-file /p ID",
		"runc --root /s start ID",
		"runc --root /s delete ID",
		"floor run v2 /r ID /bin/true",
		"floor create v2 /r ID /s/fifo /p /bin/true",
		"floor start /s/fifo",
		"floor delete v2 ID /s/fifo /p",
	} {
		words := strings.Fields(want)
		d, verb := contender{"runc", "runc", ociArgv}, words[1]
		if words[0] == "floor" {
			d = contender{"floor", "floor", floorArgv}
		} else {
			verb = words[3]
		}
		if got := strings.Join(d.command(verb, c), " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestMedian(t *testing.T) {
	for _, c := range []struct {
		values []int64
		want   int64
	}{{nil, 0}, {[]int64{7}, 7}, {[]int64{9, 1, 5}, 5}, {[]int64{4, 1, 3, 2}, 3}} {
		if got := median(c.values); got != c.want {
			t.Errorf("median of %v is %d, want %d", c.values, got, c.want)
		}
	}
}

func TestTotalCalls(t *testing.T) {
	report := "% time     seconds  usecs/call     calls    errors syscall\n" +
		" 50.00    0.000100           1       120        41 openat\n" +
		"100.00    0.000200           1       312        41 total\n"
	for text, want := range map[string]string{
		report: "312", strings.ReplaceAll(report, "        41 total", " total"): "312", "": "-",
	} {
		if got := totalCalls(text); got != want {
			t.Errorf("%q: %s, want %s", text, got, want)
		}
	}
}

// TestTable shows times, ratios and every failure.
func TestTable(t *testing.T) {
	took := func(ms ...int) (s []sample) {
		for _, one := range ms {
			s = append(s, sample{wall: time.Duration(one) * time.Millisecond})
		}
		return s
	}
	b := &bench{
		contenders: []contender{{name: "floor"}, {name: "berth"}, {name: "crun"}, {name: "runc"}},
		results: map[string]map[string]*series{
			runTrue: {
				"floor": {samples: took(2, 4, 6)},
				"berth": {samples: took(6, 8, 9), failed: 1, err: errFor("exit status 1")},
				"crun":  {samples: took(10, 10, 10)},
				"runc":  {err: errFor("no such thing")},
			},
			runSeccomp: {"berth": {samples: took(8)}},
		},
	}
	var out strings.Builder
	b.printTimes(&out)
	const want = `             minimum      median    /crun   /floor         cpu
run /bin/true
  floor      2.00 ms     4.00 ms     0.40     1.00     0.00 ms
  berth      6.00 ms     8.00 ms     0.80     2.00     0.00 ms  1 of 4 failed: exit status 1
  crun      10.00 ms    10.00 ms     1.00     2.50     0.00 ms
  runc   failed: no such thing
run /bin/true with the manager's seccomp profile
  berth      8.00 ms     8.00 ms        -     2.00     0.00 ms
`
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
}

type errFor string

func (e errFor) Error() string { return string(e) }
