// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {Clones} from "@openzeppelin/contracts/proxy/Clones.sol";

/// @title A deposit address without a key, for tokens.
/// @notice Cloned per salt by the factory. Whoever calls it, value goes to the treasury.
contract Forwarder {
    using SafeERC20 for IERC20;

    /// @notice Where everything goes, for ever.
    address public immutable treasury;

    /// @param treasury_ Where everything goes.
    constructor(address treasury_) {
        treasury = treasury_;
    }

    /// @notice Send this address's whole balance of `token`. Nothing to send is no error.
    function flush(IERC20 token) external {
        uint256 amount = token.balanceOf(address(this));
        if (amount != 0) token.safeTransfer(treasury, amount);
    }
}

/// @title A deposit address without a key, for the native coin and tokens.
/// @notice Its constructor sends everything and destroys the code in the same transaction
/// (EIP-6780), so that before and after a sweep the address is one without code: plain
/// 21,000-gas payments always arrive, and it can be swept again.
contract EphemeralForwarder {
    using SafeERC20 for IERC20;

    /// @dev Asks its creator where to send, so that the address depends on the salt alone.
    constructor() {
        (address treasury, address[] memory tokens) =
            ForwarderFactory(msg.sender).currentSweep();
        uint256 count = tokens.length;
        for (uint256 i; i < count; ++i) {
            IERC20 token = IERC20(tokens[i]);
            uint256 amount = token.balanceOf(address(this));
            if (amount != 0) token.safeTransfer(treasury, amount);
        }
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
    function flush(bytes32[] calldata salts, IERC20[] calldata tokens) external {
        uint256 count = salts.length;
        for (uint256 i; i < count; ++i) {
            bytes32 salt = salts[i];
            address account = Clones.predictDeterministicAddress(implementation, salt);
            if (account.code.length == 0) {
                Clones.cloneDeterministic(implementation, salt);
            }
            for (uint256 j; j < tokens.length; ++j) {
                Forwarder(account).flush(tokens[j]);
            }
        }
    }

    /// @notice Sweep native coin and tokens of ephemeral addresses.
    function flushEphemeral(bytes32[] calldata salts, address[] calldata tokens) external {
        if (_tokens.length != 0) revert SweepRunning();
        _tokens = tokens;
        bytes memory code = type(EphemeralForwarder).creationCode;
        uint256 count = salts.length;
        for (uint256 i; i < count; ++i) {
            bytes32 salt = salts[i];
            address account;
            assembly ("memory-safe") {
                account := create2(0, add(code, 0x20), mload(code), salt)
            }
            if (account == address(0)) revert SweepFailed(salt);
        }
        delete _tokens;
    }
}
