package spec

// row is one thing that the runtime specification asks for.
type row struct {
	number int
	field  string
	note   string // where Berth does something else on purpose, and why
	later  string // what is missing for the rest of it; such a row may be without proof
}

// section is a part of the table.
type section struct {
	title string
	rows  []row
}

// table is the specification, version 1.3, in rows that tests can prove. Numbers are names: they stay when rows come.
var table = []section{
	{"The document, the root file system, mounts (config.md)", []row{
		{number: 1, field: "`ociVersion`"},
		{number: 2, field: "`root.path`, `root.readonly`"},
		{number: 3, field: "`hostname`"},
		{number: 4, field: "`domainname`"},
		{number: 5, field: "`annotations`"},
		{number: 6, field: "`mounts[]`: destination, source, type, options, in order"},
		{number: 7, field: "`mounts[].destination` that is relative"},
		{number: 8, field: "options of mount(8): ro, nosuid, nodev, noexec, sync, atime and their opposites, bind, propagation"},
		{number: 9, field: "options `iversion`, `noiversion`"},
		{number: 10, field: "options `lazytime`, `nolazytime`"},
		{number: 11, field: "options `silent`, `loud`"},
		{number: 12, field: "options `nosymfollow`, `symfollow`"},
		{number: 13, field: "recursive options: `rro`, `rnosuid`, `rnodev`, `rnoexec`, `rnoatime` … and their opposites"},
		{number: 14, field: "options `rnosymfollow`, `rsymfollow`"},
		{number: 15, field: "option `tmpcopyup`"},
		{number: 16, field: "option `idmap`"},
		{number: 17, field: "option `ridmap`"},
		{number: 18, field: "`mounts[].uidMappings`, `gidMappings`"},
		{number: 19, field: "options `copy-symlink`, `src-nofollow`, `dest-nofollow`",
			note: "Not of the specification: crun has them, and Podman asks for them where it believes to speak to crun."},
	}},
	{"The process (config.md)", []row{
		{number: 20, field: "`process` left out: create succeeds, start fails"},
		{number: 21, field: "`process.terminal`, and the console socket"},
		{number: 22, field: "`process.consoleSize`"},
		{number: 23, field: "`process.cwd`, `env`, `args`"},
		{number: 24, field: "`process.rlimits`; an unknown type is an error"},
		{number: 25, field: "`process.rlimits`: a type listed twice is an error"},
		{number: 26, field: "`process.apparmorProfile`"},
		{number: 27, field: "`process.selinuxLabel`"},
		{number: 28, field: "`process.capabilities`, five sets; an unknown name is a warning"},
		{number: 29, field: "`process.noNewPrivileges`"},
		{number: 30, field: "`process.oomScoreAdj`"},
		{number: 31, field: "`process.scheduler`"},
		{number: 32, field: "`process.ioPriority`"},
		{number: 33, field: "`process.execCPUAffinity`"},
		{number: 34, field: "`process.user.uid`, `gid`, `additionalGids`"},
		{number: 35, field: "`process.user.umask`",
			note: "The specification leaves the umask alone where none is given. runc sets 022 then, and so does Berth: managers " +
				"and images are made for that, and the umask of the runtime's caller would otherwise decide which modes a container's " +
				"files get."},
	}},
	{"Namespaces, devices, network (config-linux.md)", []row{
		{number: 36, field: "`linux.namespaces`: each type, made or joined by path"},
		{number: 37, field: "`linux.namespaces`: a type listed twice is an error"},
		{number: 38, field: "`linux.namespaces[].path` to another type is an error"},
		{number: 39, field: "the time namespace and `linux.timeOffsets`"},
		{number: 40, field: "`linux.uidMappings`, `gidMappings`"},
		{number: 41, field: "`linux.devices`: types, mode, owner"},
		{number: 42, field: "the default devices and links of /dev"},
		{number: 43, field: "`linux.devices`: something else at the path is an error"},
		{number: 44, field: "`linux.netDevices`: moved, renamed, addresses kept, up"},
		{number: 45, field: "`linux.netDevices`: a name with `%d`"},
	}},
	{"Control groups (config-linux.md)", []row{
		{number: 46, field: "`linux.cgroupsPath`, absolute and relative; `slice:prefix:name`"},
		{number: 47, field: "ownership of a cgroup v2 group for a user namespace"},
		{number: 48, field: "annotations `org.systemd.property.*`"},
		{number: 49, field: "`resources.devices`"},
		{number: 50, field: "`memory.limit`, `reservation`, `swap`"},
		{number: 51, field: "`memory.kernel`, `kernelTCP`"},
		{number: 52, field: "`memory.swappiness`"},
		{number: 53, field: "`memory.disableOOMKiller`"},
		{number: 54, field: "`memory.useHierarchy`"},
		{number: 55, field: "`memory.checkBeforeUpdate`"},
		{number: 56, field: "`cpu.shares`"},
		{number: 57, field: "`cpu.quota`, `period`, `cpus`, `mems`"},
		{number: 58, field: "`cpu.burst`"},
		{number: 59, field: "`cpu.idle`"},
		{number: 60, field: "`cpu.realtimeRuntime`, `realtimePeriod`"},
		{number: 61, field: "`pids.limit`"},
		{number: 62, field: "`blockIO.weight`, `leafWeight`"},
		{number: 63, field: "`blockIO.weightDevice`"},
		{number: 64, field: "`blockIO.throttle…Device`"},
		{number: 65, field: "`hugepageLimits`"},
		{number: 66, field: "`hugepageLimits`: reservations"},
		{number: 67, field: "`network.classID`, `priorities`"},
		{number: 68, field: "`rdma`"},
		{number: 69, field: "`unified`"},
		{number: 70, field: "`intelRdt.closID`, `l3CacheSchema`, `memBwSchema`"},
		{number: 71, field: "`intelRdt.schemata`"},
		{number: 72, field: "`intelRdt.enableMonitoring`"},
		{number: 73, field: "`linux.memoryPolicy`"},
	}},
	{"Security and visibility (config-linux.md)", []row{
		{number: 74, field: "`linux.sysctl`"},
		{number: 75, field: "`linux.seccomp`: actions, errno, architectures, arguments"},
		{number: 76, field: "`linux.seccomp`: ENOSYS for system calls newer than the profile"},
		{number: 77, field: "`linux.seccomp.flags`"},
		{number: 78, field: "`linux.seccomp.listenerPath`, `listenerMetadata`, the container process state"},
		{number: 79, field: "`linux.rootfsPropagation`"},
		{number: 80, field: "`linux.maskedPaths`, `readonlyPaths`"},
		{number: 81, field: "`linux.mountLabel`"},
		{number: 82, field: "`linux.personality.domain`"},
		{number: 83, field: "`linux.personality.flags`: none are defined, and any is an error"},
	}},
	{"Hooks, life cycle, state (config.md, runtime.md)", []row{
		{number: 84, field: "`hooks`: six points, each with path, args, env, timeout"},
		{number: 85, field: "`hooks.poststart` after the process runs; a failure stops and deletes"},
		{number: 86, field: "create, start, state, kill, delete"},
		{number: 87, field: "delete of a container that was never started",
			note: "The specification wants an error unless the container is stopped. Berth kills and deletes a created container, as " +
				"runc does: a manager whose start fails has nothing but delete to be rid of it. A running container is refused."},
		{number: 88, field: "state: ociVersion, id, status, pid, bundle, annotations"},
	}},
	{"Features (features.md)", []row{
		{number: 89, field: "`ociVersionMin`, `ociVersionMax`, `hooks`, `mountOptions`"},
		{number: 90, field: "`linux.namespaces`, `capabilities`"},
		{number: 91, field: "`linux.cgroup`"},
		{number: 92, field: "`linux.seccomp`: enabled, actions, operators, archs"},
		{number: 93, field: "`linux.seccomp`: knownFlags, supportedFlags"},
		{number: 94, field: "`linux.apparmor`, `selinux`"},
		{number: 95, field: "`linux.intelRdt`"},
		{number: 96, field: "`linux.memoryPolicy`"},
		{number: 97, field: "`linux.mountExtensions.idmap`"},
		{number: 98, field: "`linux.netDevices`"},
		{number: 99, field: "`annotations`, `potentiallyUnsafeConfigAnnotations`"},
	}},
}
