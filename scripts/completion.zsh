#compdef quire
# zsh completion for quire(1)
_quire() {
	local -a options
	options=(
		'*--rw[write through to this folder]:folder:_files -/'
		'--ram[memory of the machine]:size:(16M 64M 512M 1G 2G)'
		'--cpus[processors]:number:'
		'--stat[a table of the page faults at the end]'
		'--deterministic[a clock that counts instructions]'
		'--timeout[give up after this long]:seconds:'
		'--no-aslr[no randomised addresses]'
		'--kernel[another kernel image]:file:_files'
		'--accel[accelerator]:which:(auto kvm tcg)'
		'--cpu[processor model]:model:'
		'*--qemu-arg[one more argument for QEMU]:argument:'
		'--gdb[wait for a debugger]'
		'--check[check the whole state at the end]'
		"--log[the kernel's log]:file:_files"
		{-v,--verbose}"[the kernel's log on standard error]"
		{-h,--help}'[help]'
		'--version[version]'
	)
	if ((CURRENT == 2)); then
		compadd run shell help --help --version
		return
	fi
	shift words
	((CURRENT--))
	case $words[1] in
	run) _arguments -S $options '(-):program:_command_names -e' '*::arguments:_normal' ;;
	shell) _arguments $options ;;
	esac
}
_quire "$@"
