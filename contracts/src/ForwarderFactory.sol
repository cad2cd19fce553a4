// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

/// @title A deposit address without a key, meant for tokens.
/// @notice Cloned per salt by the factory. Whoever calls it, value goes to the treasury. Coins that
/// were sent here by mistake, before or after the clone was made, can be sent on as well.
contract Forwarder {
    using SafeERC20 for IERC20;

    /// @notice Where everything goes, for ever.
    address public immutable treasury;

    /// @notice Native coins left this address. Of tokens their own Transfer log says it.
    event NativeSwept(address indexed account, uint256 amount);

    /// @notice The treasury must not be zero.
    error ZeroAddress();
    /// @notice The treasury did not take the native coin.
    error NativeRefused();

    /// @param treasury_ Where everything goes.
    constructor(address treasury_) {
        if (treasury_ == address(0)) revert ZeroAddress();
        treasury = treasury_;
    }

    /// @notice Send this address's whole balance of `token`. Nothing to send is no error.
    /// @param token The token's contract, or zero for the native coin.
    function flush(IERC20 token) external {
        if (address(token) != address(0)) {
            uint256 amount = token.balanceOf(address(this));
            if (amount != 0) token.safeTransfer(treasury, amount);
        } else if (address(this).balance != 0) {
            uint256 coins = address(this).balance;
            emit NativeSwept(address(this), coins);
            // To the immutable treasury only; a call, since it may be a contract wallet.
            // slither-disable-next-line low-level-calls
            (bool taken,) = treasury.call{value: coins}("");
            if (!taken) revert NativeRefused();
        }
    }

    /// @notice A clone takes coins from senders who allow it enough gas (not 21,000).
    receive() external payable {}
}

/// @title A deposit address without a key, for the native coin and tokens.
/// @notice Its constructor sends everything and destroys the code in the same transaction
/// (EIP-6780), so that before and after a sweep the address is one without code: plain
/// 21,000-gas payments always arrive, and it can be swept again.
contract EphemeralForwarder {
    using SafeERC20 for IERC20;

    /// @notice Native coins left this address. Of tokens their own Transfer log says it.
    event NativeSwept(address indexed account, uint256 amount);

    /// @dev Asks its creator where to send, so that the address depends on the salt alone.
    constructor() {
        (address treasury, address[] memory tokens) =
            ForwarderFactory(msg.sender).currentSweep();
        uint256 count = tokens.length;
        for (uint256 i; i < count; ++i) {
            IERC20 token = IERC20(tokens[i]);
            // In a loop on purpose: the caller chooses the tokens, and a bad one stops its sweep.
            // slither-disable-next-line calls-loop
            uint256 amount = token.balanceOf(address(this));
            if (amount != 0) token.safeTransfer(treasury, amount);
        }
        if (address(this).balance != 0) emit NativeSwept(address(this), address(this).balance);
        selfdestruct(payable(treasury));
    }
}

/// @title Makes and sweeps key-less deposit addresses.
/// @notice Treasury and code are fixed at deployment: a stolen caller's key can only cause a sweep
/// to the treasury, which is what it is there for. No owner, no rights, no storage but the tokens
/// of the sweep that is running.
contract ForwarderFactory {
    /// @notice Where everything goes, for ever.
    address public immutable treasury;

    /// @notice The code every clone runs.
    address public immutable implementation;

    address[] private _tokens;

    /// @notice The treasury must not be zero.
    error ZeroAddress();
    /// @notice No sweep may begin while another one runs.
    error SweepRunning();
    /// @notice The ephemeral contract could not be made.
    error SweepFailed(bytes32 salt);

    /// @param treasury_ Where everything goes.
    constructor(address treasury_) {
        if (treasury_ == address(0)) revert ZeroAddress();
        treasury = treasury_;
        implementation = address(new Forwarder(treasury_));
    }

    /// @notice The token address of a salt.
    /// @param salt 32 bytes; `contracts/create2.py` computes the same without a node.
    function addressOf(bytes32 salt) external view returns (address) {
        return Clones.predictDeterministicAddress(implementation, salt);
    }

    /// @notice The address of a salt that takes the native coin as well.
    function ephemeralAddressOf(bytes32 salt) external view returns (address) {
        bytes32 code = keccak256(type(EphemeralForwarder).creationCode);
        bytes32 digest = keccak256(abi.encodePacked(bytes1(0xff), address(this), salt, code));
        return address(uint160(uint256(digest)));
    }

    /// @notice What an ephemeral contract asks for while it is made.
    function currentSweep() external view returns (address, address[] memory) {
        return (treasury, _tokens);
    }

    /// @notice Deploy what is not there yet, and send every token of every address on.
    /// @param salts Which addresses.
    /// @param tokens Their contracts; zero for the native coin.
    function flush(bytes32[] calldata salts, IERC20[] calldata tokens) external {
        uint256 count = salts.length;
        for (uint256 i; i < count; ++i) {
            bytes32 salt = salts[i];
            address account = Clones.predictDeterministicAddress(implementation, salt);
            if (account.code.length == 0) {
                account = Clones.cloneDeterministic(implementation, salt);
            }
            for (uint256 j; j < tokens.length; ++j) {
                // In a loop on purpose: a bad token or salt reverts only the call that named it.
                // slither-disable-next-line calls-loop
                Forwarder(payable(account)).flush(tokens[j]);
            }
        }
    }

    /// @notice Sweep native coin and tokens of ephemeral addresses.
    /// @param salts Which addresses; each at most once in a call.
    /// @param tokens Which tokens; the native coin always goes along.
    function flushEphemeral(bytes32[] calldata salts, address[] calldata tokens) external {
        if (_tokens.length != 0) revert SweepRunning();
        _tokens = tokens;
        bytes memory code = type(EphemeralForwarder).creationCode;
        uint256 count = salts.length;
        for (uint256 i; i < count; ++i) {
            bytes32 salt = salts[i];
            address account;
            // By hand: `new` would copy the creation code into memory once more for every salt.
            // slither-disable-next-line assembly
            assembly ("memory-safe") {
                account := create2(0, add(code, 0x20), mload(code), salt)
            }
            if (account == address(0)) revert SweepFailed(salt);
        }
        delete _tokens;
    }
}
