package bundle

import specs "github.com/opencontainers/runtime-spec/specs-go"

// The functions of this file say which key of config.json goes where: one
// function for each object of the specification, one case for each key. A
// test holds them to the json tags of specs.Spec, so that a new version of
// the specification cannot bring a key that is missed here.

func readSpec(d *decoder, v *specs.Spec) {
	d.object(func(key string) {
		switch key {
		case "ociVersion":
			readText(d, &v.Version)
		case "process":
			readPtr(d, &v.Process, readProcess)
		case "root":
			readPtr(d, &v.Root, readRoot)
		case "hostname":
			readText(d, &v.Hostname)
		case "domainname":
			readText(d, &v.Domainname)
		case "mounts":
			readList(d, &v.Mounts, readMount)
		case "hooks":
			readPtr(d, &v.Hooks, readHooks)
		case "annotations":
			readMap(d, &v.Annotations, readAny)
		case "linux":
			readPtr(d, &v.Linux, readLinux)
		case "solaris", "windows", "vm", "zos", "freebsd":
			d.skip() // another platform's
		default:
			d.unknown()
		}
	})
}

func readProcess(d *decoder, v *specs.Process) {
	d.object(func(key string) {
		switch key {
		case "terminal":
			readBool(d, &v.Terminal)
		case "consoleSize":
			readPtr(d, &v.ConsoleSize, readBox)
		case "user":
			readUser(d, &v.User)
		case "args":
			readTexts(d, &v.Args)
		case "commandLine":
			readText(d, &v.CommandLine)
		case "env":
			readTexts(d, &v.Env)
		case "cwd":
			readText(d, &v.Cwd)
		case "capabilities":
			readPtr(d, &v.Capabilities, readCapabilities)
		case "rlimits":
			readList(d, &v.Rlimits, readPOSIXRlimit)
		case "noNewPrivileges":
			readBool(d, &v.NoNewPrivileges)
		case "apparmorProfile":
			readText(d, &v.ApparmorProfile)
		case "oomScoreAdj":
			readPtr(d, &v.OOMScoreAdj, readInt)
		case "scheduler":
			readPtr(d, &v.Scheduler, readScheduler)
		case "selinuxLabel":
			readText(d, &v.SelinuxLabel)
		case "ioPriority":
			readPtr(d, &v.IOPriority, readIOPriority)
		case "execCPUAffinity":
			readPtr(d, &v.ExecCPUAffinity, readCPUAffinity)
		default:
			d.unknown()
		}
	})
}

func readBox(d *decoder, v *specs.Box) {
	d.object(func(key string) {
		switch key {
		case "height":
			readInt(d, &v.Height)
		case "width":
			readInt(d, &v.Width)
		default:
			d.unknown()
		}
	})
}

func readUser(d *decoder, v *specs.User) {
	d.object(func(key string) {
		switch key {
		case "uid":
			readInt(d, &v.UID)
		case "gid":
			readInt(d, &v.GID)
		case "umask":
			readPtr(d, &v.Umask, readInt)
		case "additionalGids":
			readList(d, &v.AdditionalGids, readInt)
		case "username":
			readText(d, &v.Username)
		default:
			d.unknown()
		}
	})
}

func readCapabilities(d *decoder, v *specs.LinuxCapabilities) {
	d.object(func(key string) {
		switch key {
		case "bounding":
			readTexts(d, &v.Bounding)
		case "effective":
			readTexts(d, &v.Effective)
		case "inheritable":
			readTexts(d, &v.Inheritable)
		case "permitted":
			readTexts(d, &v.Permitted)
		case "ambient":
			readTexts(d, &v.Ambient)
		default:
			d.unknown()
		}
	})
}

func readPOSIXRlimit(d *decoder, v *specs.POSIXRlimit) {
	d.object(func(key string) {
		switch key {
		case "type":
			readText(d, &v.Type)
		case "hard":
			readInt(d, &v.Hard)
		case "soft":
			readInt(d, &v.Soft)
		default:
			d.unknown()
		}
	})
}

func readScheduler(d *decoder, v *specs.Scheduler) {
	d.object(func(key string) {
		switch key {
		case "policy":
			readText(d, &v.Policy)
		case "nice":
			readInt(d, &v.Nice)
		case "priority":
			readInt(d, &v.Priority)
		case "flags":
			readList(d, &v.Flags, readText)
		case "runtime":
			readInt(d, &v.Runtime)
		case "deadline":
			readInt(d, &v.Deadline)
		case "period":
			readInt(d, &v.Period)
		default:
			d.unknown()
		}
	})
}

func readIOPriority(d *decoder, v *specs.LinuxIOPriority) {
	d.object(func(key string) {
		switch key {
		case "class":
			readText(d, &v.Class)
		case "priority":
			readInt(d, &v.Priority)
		default:
			d.unknown()
		}
	})
}

func readCPUAffinity(d *decoder, v *specs.CPUAffinity) {
	d.object(func(key string) {
		switch key {
		case "initial":
			readText(d, &v.Initial)
		case "final":
			readText(d, &v.Final)
		default:
			d.unknown()
		}
	})
}

func readRoot(d *decoder, v *specs.Root) {
	d.object(func(key string) {
		switch key {
		case "path":
			readText(d, &v.Path)
		case "readonly":
			readBool(d, &v.Readonly)
		default:
			d.unknown()
		}
	})
}

func readMount(d *decoder, v *specs.Mount) {
	d.object(func(key string) {
		switch key {
		case "destination":
			readText(d, &v.Destination)
		case "type":
			readText(d, &v.Type)
		case "source":
			readText(d, &v.Source)
		case "options":
			readTexts(d, &v.Options)
		case "uidMappings":
			readList(d, &v.UIDMappings, readIDMapping)
		case "gidMappings":
			readList(d, &v.GIDMappings, readIDMapping)
		default:
			d.unknown()
		}
	})
}

func readIDMapping(d *decoder, v *specs.LinuxIDMapping) {
	d.object(func(key string) {
		switch key {
		case "containerID":
			readInt(d, &v.ContainerID)
		case "hostID":
			readInt(d, &v.HostID)
		case "size":
			readInt(d, &v.Size)
		default:
			d.unknown()
		}
	})
}

func readHooks(d *decoder, v *specs.Hooks) {
	d.object(func(key string) {
		switch key {
		case "prestart":
			//lint:ignore SA1019 deprecated, but a part of the specification
			readList(d, &v.Prestart, readHook)
		case "createRuntime":
			readList(d, &v.CreateRuntime, readHook)
		case "createContainer":
			readList(d, &v.CreateContainer, readHook)
		case "startContainer":
			readList(d, &v.StartContainer, readHook)
		case "poststart":
			readList(d, &v.Poststart, readHook)
		case "poststop":
			readList(d, &v.Poststop, readHook)
		default:
			d.unknown()
		}
	})
}

func readHook(d *decoder, v *specs.Hook) {
	d.object(func(key string) {
		switch key {
		case "path":
			readText(d, &v.Path)
		case "args":
			readTexts(d, &v.Args)
		case "env":
			readTexts(d, &v.Env)
		case "timeout":
			readPtr(d, &v.Timeout, readInt)
		default:
			d.unknown()
		}
	})
}

func readLinux(d *decoder, v *specs.Linux) {
	d.object(func(key string) {
		switch key {
		case "uidMappings":
			readList(d, &v.UIDMappings, readIDMapping)
		case "gidMappings":
			readList(d, &v.GIDMappings, readIDMapping)
		case "sysctl":
			readMap(d, &v.Sysctl, readText)
		case "resources":
			readPtr(d, &v.Resources, readResources)
		case "cgroupsPath":
			readText(d, &v.CgroupsPath)
		case "namespaces":
			readList(d, &v.Namespaces, readNamespace)
		case "devices":
			readList(d, &v.Devices, readDevice)
		case "netDevices":
			readMap(d, &v.NetDevices, readNetDevice)
		case "seccomp":
			readPtr(d, &v.Seccomp, readSeccomp)
		case "rootfsPropagation":
			readText(d, &v.RootfsPropagation)
		case "maskedPaths":
			readTexts(d, &v.MaskedPaths)
		case "readonlyPaths":
			readTexts(d, &v.ReadonlyPaths)
		case "mountLabel":
			readText(d, &v.MountLabel)
		case "intelRdt":
			readPtr(d, &v.IntelRdt, readIntelRdt)
		case "memoryPolicy":
			readPtr(d, &v.MemoryPolicy, readMemoryPolicy)
		case "personality":
			readPtr(d, &v.Personality, readPersonality)
		case "timeOffsets":
			readMap(d, &v.TimeOffsets, readTimeOffset)
		default:
			d.unknown()
		}
	})
}

func readResources(d *decoder, v *specs.LinuxResources) {
	d.object(func(key string) {
		switch key {
		case "devices":
			readList(d, &v.Devices, readDeviceCgroup)
		case "memory":
			readPtr(d, &v.Memory, readMemory)
		case "cpu":
			readPtr(d, &v.CPU, readCPU)
		case "pids":
			readPtr(d, &v.Pids, readPids)
		case "blockIO":
			readPtr(d, &v.BlockIO, readBlockIO)
		case "hugepageLimits":
			readList(d, &v.HugepageLimits, readHugepageLimit)
		case "network":
			readPtr(d, &v.Network, readNetwork)
		case "rdma":
			readMap(d, &v.Rdma, readRdma)
		case "unified":
			readMap(d, &v.Unified, readText)
		default:
			d.unknown()
		}
	})
}

func readDeviceCgroup(d *decoder, v *specs.LinuxDeviceCgroup) {
	d.object(func(key string) {
		switch key {
		case "allow":
			readBool(d, &v.Allow)
		case "type":
			readText(d, &v.Type)
		case "major":
			readPtr(d, &v.Major, readInt)
		case "minor":
			readPtr(d, &v.Minor, readInt)
		case "access":
			readText(d, &v.Access)
		default:
			d.unknown()
		}
	})
}

func readMemory(d *decoder, v *specs.LinuxMemory) {
	d.object(func(key string) {
		switch key {
		case "limit":
			readPtr(d, &v.Limit, readInt)
		case "reservation":
			readPtr(d, &v.Reservation, readInt)
		case "swap":
			readPtr(d, &v.Swap, readInt)
		case "kernel":
			//lint:ignore SA1019 deprecated, but a part of the specification
			readPtr(d, &v.Kernel, readInt)
		case "kernelTCP":
			readPtr(d, &v.KernelTCP, readInt)
		case "swappiness":
			readPtr(d, &v.Swappiness, readInt)
		case "disableOOMKiller":
			readPtr(d, &v.DisableOOMKiller, readBool)
		case "useHierarchy":
			readPtr(d, &v.UseHierarchy, readBool)
		case "checkBeforeUpdate":
			readPtr(d, &v.CheckBeforeUpdate, readBool)
		default:
			d.unknown()
		}
	})
}

func readCPU(d *decoder, v *specs.LinuxCPU) {
	d.object(func(key string) {
		switch key {
		case "shares":
			readPtr(d, &v.Shares, readInt)
		case "quota":
			readPtr(d, &v.Quota, readInt)
		case "burst":
			readPtr(d, &v.Burst, readInt)
		case "period":
			readPtr(d, &v.Period, readInt)
		case "realtimeRuntime":
			readPtr(d, &v.RealtimeRuntime, readInt)
		case "realtimePeriod":
			readPtr(d, &v.RealtimePeriod, readInt)
		case "cpus":
			readText(d, &v.Cpus)
		case "mems":
			readText(d, &v.Mems)
		case "idle":
			readPtr(d, &v.Idle, readInt)
		default:
			d.unknown()
		}
	})
}

func readPids(d *decoder, v *specs.LinuxPids) {
	d.object(func(key string) {
		switch key {
		case "limit":
			readPtr(d, &v.Limit, readInt)
		default:
			d.unknown()
		}
	})
}

func readBlockIO(d *decoder, v *specs.LinuxBlockIO) {
	d.object(func(key string) {
		switch key {
		case "weight":
			readPtr(d, &v.Weight, readInt)
		case "leafWeight":
			readPtr(d, &v.LeafWeight, readInt)
		case "weightDevice":
			readList(d, &v.WeightDevice, readWeightDevice)
		case "throttleReadBpsDevice":
			readList(d, &v.ThrottleReadBpsDevice, readThrottleDevice)
		case "throttleWriteBpsDevice":
			readList(d, &v.ThrottleWriteBpsDevice, readThrottleDevice)
		case "throttleReadIOPSDevice":
			readList(d, &v.ThrottleReadIOPSDevice, readThrottleDevice)
		case "throttleWriteIOPSDevice":
			readList(d, &v.ThrottleWriteIOPSDevice, readThrottleDevice)
		default:
			d.unknown()
		}
	})
}

func readWeightDevice(d *decoder, v *specs.LinuxWeightDevice) {
	d.object(func(key string) {
		switch key {
		case "major":
			readInt(d, &v.Major)
		case "minor":
			readInt(d, &v.Minor)
		case "weight":
			readPtr(d, &v.Weight, readInt)
		case "leafWeight":
			readPtr(d, &v.LeafWeight, readInt)
		default:
			d.unknown()
		}
	})
}

func readThrottleDevice(d *decoder, v *specs.LinuxThrottleDevice) {
	d.object(func(key string) {
		switch key {
		case "major":
			readInt(d, &v.Major)
		case "minor":
			readInt(d, &v.Minor)
		case "rate":
			readInt(d, &v.Rate)
		default:
			d.unknown()
		}
	})
}

func readHugepageLimit(d *decoder, v *specs.LinuxHugepageLimit) {
	d.object(func(key string) {
		switch key {
		case "pageSize":
			readText(d, &v.Pagesize)
		case "limit":
			readInt(d, &v.Limit)
		default:
			d.unknown()
		}
	})
}

func readNetwork(d *decoder, v *specs.LinuxNetwork) {
	d.object(func(key string) {
		switch key {
		case "classID":
			readPtr(d, &v.ClassID, readInt)
		case "priorities":
			readList(d, &v.Priorities, readInterfacePriority)
		default:
			d.unknown()
		}
	})
}

func readInterfacePriority(d *decoder, v *specs.LinuxInterfacePriority) {
	d.object(func(key string) {
		switch key {
		case "name":
			readText(d, &v.Name)
		case "priority":
			readInt(d, &v.Priority)
		default:
			d.unknown()
		}
	})
}

func readRdma(d *decoder, v *specs.LinuxRdma) {
	d.object(func(key string) {
		switch key {
		case "hcaHandles":
			readPtr(d, &v.HcaHandles, readInt)
		case "hcaObjects":
			readPtr(d, &v.HcaObjects, readInt)
		default:
			d.unknown()
		}
	})
}

func readNamespace(d *decoder, v *specs.LinuxNamespace) {
	d.object(func(key string) {
		switch key {
		case "type":
			readText(d, &v.Type)
		case "path":
			readText(d, &v.Path)
		default:
			d.unknown()
		}
	})
}

func readDevice(d *decoder, v *specs.LinuxDevice) {
	d.object(func(key string) {
		switch key {
		case "path":
			readText(d, &v.Path)
		case "type":
			readText(d, &v.Type)
		case "major":
			readInt(d, &v.Major)
		case "minor":
			readInt(d, &v.Minor)
		case "fileMode":
			readPtr(d, &v.FileMode, readInt)
		case "uid":
			readPtr(d, &v.UID, readInt)
		case "gid":
			readPtr(d, &v.GID, readInt)
		default:
			d.unknown()
		}
	})
}

func readNetDevice(d *decoder, v *specs.LinuxNetDevice) {
	d.object(func(key string) {
		switch key {
		case "name":
			readText(d, &v.Name)
		default:
			d.unknown()
		}
	})
}

func readSeccomp(d *decoder, v *specs.LinuxSeccomp) {
	d.object(func(key string) {
		switch key {
		case "defaultAction":
			readText(d, &v.DefaultAction)
		case "defaultErrnoRet":
			readPtr(d, &v.DefaultErrnoRet, readInt)
		case "architectures":
			readList(d, &v.Architectures, readText)
		case "flags":
			readList(d, &v.Flags, readText)
		case "listenerPath":
			readText(d, &v.ListenerPath)
		case "listenerMetadata":
			readAny(d, &v.ListenerMetadata)
		case "syscalls":
			readList(d, &v.Syscalls, readSyscall)
		default:
			d.unknown()
		}
	})
}

func readSyscall(d *decoder, v *specs.LinuxSyscall) {
	d.object(func(key string) {
		switch key {
		case "names":
			readTexts(d, &v.Names)
		case "action":
			readText(d, &v.Action)
		case "errnoRet":
			readPtr(d, &v.ErrnoRet, readInt)
		case "args":
			readList(d, &v.Args, readSeccompArg)
		default:
			d.unknown()
		}
	})
}

func readSeccompArg(d *decoder, v *specs.LinuxSeccompArg) {
	d.object(func(key string) {
		switch key {
		case "index":
			readInt(d, &v.Index)
		case "value":
			readInt(d, &v.Value)
		case "valueTwo":
			readInt(d, &v.ValueTwo)
		case "op":
			readText(d, &v.Op)
		default:
			d.unknown()
		}
	})
}

func readIntelRdt(d *decoder, v *specs.LinuxIntelRdt) {
	d.object(func(key string) {
		switch key {
		case "closID":
			readText(d, &v.ClosID)
		case "schemata":
			readTexts(d, &v.Schemata)
		case "l3CacheSchema":
			readText(d, &v.L3CacheSchema)
		case "memBwSchema":
			readText(d, &v.MemBwSchema)
		case "enableMonitoring":
			readBool(d, &v.EnableMonitoring)
		default:
			d.unknown()
		}
	})
}

func readMemoryPolicy(d *decoder, v *specs.LinuxMemoryPolicy) {
	d.object(func(key string) {
		switch key {
		case "mode":
			readText(d, &v.Mode)
		case "nodes":
			readText(d, &v.Nodes)
		case "flags":
			readList(d, &v.Flags, readText)
		default:
			d.unknown()
		}
	})
}

func readPersonality(d *decoder, v *specs.LinuxPersonality) {
	d.object(func(key string) {
		switch key {
		case "domain":
			readText(d, &v.Domain)
		case "flags":
			readList(d, &v.Flags, readText)
		default:
			d.unknown()
		}
	})
}

func readTimeOffset(d *decoder, v *specs.LinuxTimeOffset) {
	d.object(func(key string) {
		switch key {
		case "secs":
			readInt(d, &v.Secs)
		case "nanosecs":
			readInt(d, &v.Nanosecs)
		default:
			d.unknown()
		}
	})
}
